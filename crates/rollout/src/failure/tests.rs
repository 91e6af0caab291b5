use super::*;
use crate::{Activity, ContainerRole, ContainerState, Explanation, Termination};

const DEADLINE: Deadline = Deadline::Own(SignedDuration::from_secs(600));

fn explanation(reason: &str, message: &str) -> Explanation {
    Explanation { reason: reason.to_owned(), message: message.to_owned() }
}

fn termination(reason: &str, exit_code: i32) -> Termination {
    Termination { reason: reason.to_owned(), message: String::new(), exit_code }
}

fn container(role: ContainerRole, name: &str, activity: Activity) -> ContainerState {
    ContainerState { name: name.to_owned(), role, activity, last_termination: None, restarts: 0 }
}

/// A container `app`.
fn app(activity: Activity) -> ContainerState {
    container(ContainerRole::Main, "app", activity)
}

/// A container `app` that is waiting.
fn waiting(reason: &str, message: &str) -> ContainerState {
    app(Activity::Waiting(explanation(reason, message)))
}

fn ended_before(container: ContainerState, termination: Termination, restarts: i32) -> ContainerState {
    ContainerState { last_termination: Some(termination), restarts, ..container }
}

/// A container `app` in back-off after a crash.
fn crashing(termination: Termination, restarts: i32) -> ContainerState {
    ended_before(waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container"), termination, restarts)
}

fn pod(containers: impl Into<Vec<ContainerState>>) -> PodState {
    PodState { containers: containers.into(), ..PodState::default() }
}

fn ready() -> PodState {
    PodState { ready: true, ..pod([app(Activity::Running(Readiness::Ready))]) }
}

fn unscheduled(message: &str) -> PodState {
    PodState { unscheduled: Some(explanation("Unschedulable", message)), ..PodState::default() }
}

fn failed(reason: &str, message: &str) -> PodState {
    PodState {
        failed: Some(explanation(reason, message)),
        ..pod([app(Activity::Terminated(termination("Error", 137)))])
    }
}

/// The failure reason of a rollout with these pods.
fn reason(pods: &[PodState]) -> String {
    failure(None, DEADLINE, Some(pods))
}

#[track_caller]
fn check(cases: impl IntoIterator<Item = (PodState, &'static str)>) {
    for (pod, expected) in cases {
        assert_eq!(reason(&[pod]), expected);
    }
}

#[test]
fn image_that_cannot_be_pulled_is_named() {
    let back_off = || pod([waiting("ImagePullBackOff", "Back-off pulling image \"web:broken\"")]);
    let error = pod([waiting("ErrImagePull", "manifest unknown")]);
    assert_eq!(
        reason(&[back_off(), ready(), error, back_off()]),
        "3 of 4 pods can't pull the image of container app: ImagePullBackOff: Back-off pulling image \"web:broken\"",
        "both reasons are one cause",
    );
    let pod_of = |reason: &str| pod([waiting(reason, "why")]);
    check([
        (pod_of("InvalidImageName"), "the only pod can't pull the image of container app: InvalidImageName: why"),
        (pod_of("ErrImageNeverPull"), "the only pod can't pull the image of container app: ErrImageNeverPull: why"),
        (pod_of("RegistryUnavailable"), "the only pod can't pull the image of container app: RegistryUnavailable: why"),
    ]);
}

#[test]
fn crashing_container_is_named_with_its_restarts() {
    let crash = |restarts| pod([crashing(termination("Error", 1), restarts)]);
    assert_eq!(
        reason(&[crash(5), crash(5), crash(5)]),
        "3 of 3 pods: container app keeps crashing (CrashLoopBackOff): exit code 1, 5 restarts",
    );
    assert_eq!(
        reason(&[
            crash(5),
            pod([ended_before(app(Activity::Terminated(termination("Error", 1))), termination("Error", 1), 4)])
        ]),
        "2 of 2 pods: container app keeps crashing (CrashLoopBackOff): exit code 1, 4 to 5 restarts",
        "a crash and the back-off after it are one cause",
    );
    let start_error = Termination {
        message: "exec: \"nope\": executable file not found".to_owned(),
        ..termination("StartError", 128)
    };
    check([
        (
            pod([crashing(termination("OOMKilled", 137), 1)]),
            "the only pod: container app keeps crashing (CrashLoopBackOff): OOMKilled (exit code 137), 1 restart",
        ),
        (
            pod([crashing(termination("Completed", 0), 3)]),
            "the only pod: container app keeps exiting (CrashLoopBackOff): exit code 0, 3 restarts",
        ),
        (
            pod([ContainerState { last_termination: None, ..crashing(Termination::default(), 2) }]),
            "the only pod: container app keeps crashing (CrashLoopBackOff): exit code unknown, 2 restarts",
        ),
        (
            pod([app(Activity::Terminated(termination("Error", 2)))]),
            "the only pod: container app doesn't stay up: exit code 2, 0 restarts",
        ),
        (
            pod([crashing(start_error.clone(), 4)]),
            "the only pod: container app keeps crashing (CrashLoopBackOff): StartError (exit code 128), 4 restarts: \
             exec: \"nope\": executable file not found",
        ),
        (
            pod([ended_before(waiting("RunContainerError", "failed to start"), start_error, 4)]),
            "the only pod: container app doesn't stay up: StartError (exit code 128), 4 restarts: \
             exec: \"nope\": executable file not found",
        ),
    ]);
}

#[test]
fn termination_message_of_a_container_is_omitted() {
    let with_secret = Termination { message: "password=hunter2".to_owned(), ..termination("Error", 1) };
    assert_eq!(
        reason(&[pod([crashing(with_secret, 1)])]),
        "the only pod: container app keeps crashing (CrashLoopBackOff): exit code 1, 1 restart",
    );
}

#[test]
fn unscheduled_pods_are_explained_by_the_scheduler() {
    assert_eq!(
        reason(&[ready(), ready(), unscheduled("0/3 nodes are available: 3 Insufficient cpu.")]),
        "1 of 3 pods can't be scheduled: 0/3 nodes are available: 3 Insufficient cpu",
    );
    check([(unscheduled(""), "the only pod: no scheduler has assigned a node")]);
}

#[test]
fn running_container_fails_by_its_probe() {
    let running = |readiness| app(Activity::Running(readiness));
    check([
        (
            pod([running(Readiness::BehindReadinessProbe)]),
            "the only pod: container app runs, but doesn't pass its readiness probe",
        ),
        (
            pod([running(Readiness::BehindStartupProbe)]),
            "the only pod: container app runs, but hasn't passed its startup probe",
        ),
        (pod([running(Readiness::Unready)]), "the only pod: container app runs, but isn't ready"),
        (
            pod([ended_before(running(Readiness::BehindReadinessProbe), termination("Error", 1), 2)]),
            "the only pod: container app runs again after exit code 1 and 2 restarts, but doesn't pass its readiness probe",
        ),
    ]);
    let restarted = |readiness| pod([ended_before(running(readiness), termination("Error", 1), 2)]);
    assert_eq!(
        reason(&[restarted(Readiness::BehindReadinessProbe), restarted(Readiness::BehindStartupProbe)]),
        "2 of 2 pods: container app doesn't stay up: exit code 1, 2 restarts",
        "the readiness of one pod isn't that of all",
    );
}

#[test]
fn container_that_cannot_start_is_named() {
    check([
        (
            pod([waiting("CreateContainerConfigError", "secret \"database\" not found")]),
            "the only pod: the configuration of container app can't be used: CreateContainerConfigError: secret \
             \"database\" not found",
        ),
        (
            pod([waiting("RunContainerError", "no such device")]),
            "the only pod: container app can't be started: RunContainerError: no such device",
        ),
        (pod([waiting("PostStartHookError", "")]), "the only pod: container app can't be started: PostStartHookError"),
        (
            pod([waiting("SomethingNew", "of a later Kubernetes")]),
            "the only pod: container app is waiting: SomethingNew: of a later Kubernetes",
        ),
    ]);
}

#[test]
fn cause_is_the_container_that_others_wait_for() {
    let initializing = || waiting("PodInitializing", "");
    let init = |activity| container(ContainerRole::Init, "migrate", activity);
    let sidecar = |activity| container(ContainerRole::Sidecar, "proxy", activity);
    let done = || init(Activity::Terminated(termination("Completed", 0)));
    check([
        (
            pod([init(Activity::Running(Readiness::Ready)), initializing()]),
            "the only pod: init container migrate is still running",
        ),
        (
            pod([
                ended_before(init(Activity::Running(Readiness::Unready)), termination("Error", 3), 2),
                initializing(),
            ]),
            "the only pod: init container migrate doesn't stay up: exit code 3, 2 restarts",
        ),
        (
            pod([init(Activity::Terminated(termination("Error", 3))), initializing()]),
            "the only pod: init container migrate doesn't stay up: exit code 3, 0 restarts",
        ),
        (
            pod([init(Activity::Waiting(explanation("ImagePullBackOff", "m"))), initializing()]),
            "the only pod can't pull the image of init container migrate: ImagePullBackOff: m",
        ),
        (
            pod([done(), sidecar(Activity::Running(Readiness::BehindStartupProbe)), initializing()]),
            "the only pod: sidecar container proxy runs, but hasn't passed its startup probe",
        ),
        (
            pod([done(), sidecar(Activity::Running(Readiness::Unready)), crashing(termination("Error", 1), 3)]),
            "the only pod: container app keeps crashing (CrashLoopBackOff): exit code 1, 3 restarts",
        ),
        (
            pod([
                done(),
                sidecar(Activity::Terminated(termination("Completed", 0))),
                app(Activity::Running(Readiness::Ready)),
            ]),
            "the only pod: sidecar container proxy doesn't stay up: exit code 0, 0 restarts",
        ),
    ]);
}

#[test]
fn pods_without_running_containers_are_explained() {
    let creating = || pod([waiting("ContainerCreating", "")]);
    check([
        (creating(), "the only pod: containers are still being created (ContainerCreating)"),
        (
            PodState { without_sandbox: true, ..creating() },
            "the only pod: the node hasn't set up the volumes or the network (ContainerCreating)",
        ),
        (pod([]), "the only pod: the node hasn't reported any container"),
    ]);
}

#[test]
fn unready_pod_with_ready_containers_is_explained() {
    let running = || pod([app(Activity::Running(Readiness::Ready))]);
    let gate = "corresponding condition of pod readiness gate \"example.com/gate\" does not exist";
    assert_eq!(
        reason(&[PodState { readiness_gates: Some(format!("{gate}.")), ..running() }]),
        format!("the only pod: all containers are ready, but a readiness gate isn't: {gate}"),
    );
    check([(running(), "the only pod: all containers are ready, but the pod isn't")]);
}

#[test]
fn failed_pods_are_counted_separately() {
    let evicted = || failed("Evicted", "The node was low on resource: memory. ");
    assert_eq!(reason(&[evicted()]), "1 pod failed: Evicted: The node was low on resource: memory");
    assert_eq!(
        reason(&[evicted(), unscheduled("no room"), evicted(), ready()]),
        "2 pods failed: Evicted: The node was low on resource: memory; 1 of 2 pods can't be scheduled: no room",
        "the ReplicaSet has replaced them",
    );
    check([(failed("", ""), "1 pod failed")]);
}

#[test]
fn pods_that_cannot_be_created_come_first() {
    let quota = "exceeded quota: compute, requested: cpu=1, used: cpu=2, limited: cpu=2";
    let message = format!("pods \"web-7679c567ff-x8zqj\" is forbidden: {quota}");
    assert_eq!(failure(Some(&message), DEADLINE, Some(&[])), format!("pods can't be created: {quota}"));
    assert_eq!(failure(Some(&message), DEADLINE, None), format!("pods can't be created: {quota}"));
    assert_eq!(failure(Some(&message), DEADLINE, Some(&[ready()])), format!("further pods can't be created: {quota}"));
    assert_eq!(
        failure(Some(&message), DEADLINE, Some(&[unscheduled("full"), pod([]), pod([])])),
        format!(
            "further pods can't be created: {quota}; 2 of 3 pods: the node hasn't reported any container; \
             other causes: 1 pod"
        ),
    );
}

#[test]
fn generated_pod_name_is_omitted() {
    let messages = [
        (
            "Pod \"web-1-x\" is invalid: spec.containers[0].image: Required value",
            "spec.containers[0].image: Required value",
        ),
        (
            "admission webhook \"deny.example.com\" denied the request: no",
            "admission webhook \"deny.example.com\" denied the request: no",
        ),
        ("pods \"web-1-x\" already exists", "pods \"web-1-x\" already exists"),
        ("pods \"web", "pods \"web"),
    ];
    for (message, quoted) in messages {
        assert_eq!(failure(Some(message), DEADLINE, None), format!("pods can't be created: {quoted}"));
    }
}

#[test]
fn without_a_cause_the_reason_is_the_deadline() {
    let timeout = Deadline::Timeout(SignedDuration::from_mins(15));
    assert_eq!(failure(None, DEADLINE, None), "no progress for 600 s (progressDeadlineSeconds)");
    assert_eq!(
        failure(None, timeout, None),
        "no progress for 900 s (rollouts.failAfter, since the workload has no progress deadline)",
    );
    assert_eq!(reason(&[]), "no progress for 600 s (progressDeadlineSeconds), and there are no pods");
    assert_eq!(
        reason(&[ready(), ready()]),
        "no progress for 600 s (progressDeadlineSeconds), although 2 of 2 pods became ready; a pod counts as available \
         only after minReadySeconds",
    );
}

#[test]
fn two_most_frequent_causes_are_named() {
    let pods = [
        unscheduled("full"),
        pod([crashing(termination("Error", 1), 1)]),
        pod([crashing(termination("OOMKilled", 137), 1)]),
        pod([]),
        pod([crashing(termination("OOMKilled", 137), 2)]),
        unscheduled("full"),
        unscheduled("fuller than full"),
        ready(),
    ];
    assert_eq!(
        reason(&pods),
        "3 of 8 pods can't be scheduled: full; 2 of 8 pods: container app keeps crashing (CrashLoopBackOff): \
         OOMKilled (exit code 137), 1 to 2 restarts; other causes: 2 pods",
    );
}

#[test]
fn sample_of_pods_is_called_checked() {
    let pods = vec![unscheduled("full"); POD_SAMPLE];
    assert_eq!(reason(&pods), "100 of 100 checked pods can't be scheduled: full");
    assert_eq!(reason(&pods[1..]), "99 of 99 pods can't be scheduled: full");
}

#[test]
fn long_messages_are_shortened_but_statements_are_not() {
    let long = "ö".repeat(2 * MAX_REASON_CHARACTERS);
    let pods = [unscheduled(&long), pod([waiting("ErrImagePull", &long)]), pod([])];
    let text = reason(&pods);
    assert!(
        text.chars().count() <= MAX_REASON_CHARACTERS && text.chars().count() > MAX_REASON_CHARACTERS - 10,
        "{text}"
    );
    let (first, rest) = text.split_once("; ").unwrap();
    let (second, rest) = rest.split_once("; ").unwrap();
    assert!(first.starts_with("1 of 3 pods can't be scheduled: öö") && first.ends_with("ö…"), "{first}");
    assert!(second.starts_with("1 of 3 pods can't pull the image of container app: ErrImagePull: öö"), "{second}");
    assert!(second.ends_with("ö…"), "{second}");
    assert_eq!(rest, "other causes: 1 pod");

    let short_first = reason(&[unscheduled("full"), unscheduled("full"), pod([waiting("ErrImagePull", &long)])]);
    assert!(
        short_first.chars().count() > MAX_REASON_CHARACTERS - 10,
        "what the first quotation doesn't need is free: {short_first}"
    );
}

#[test]
fn reason_is_one_short_line_for_any_text() {
    let texts = ["a\nb\r\nc", "\u{2028}", "x\ty", &"long\n".repeat(1000), &"😀".repeat(1000)];
    for text in texts {
        let activity = || Activity::Waiting(explanation(text, text));
        let pods = [
            unscheduled(text),
            failed(text, text),
            pod([container(ContainerRole::Init, text, activity())]),
            PodState { readiness_gates: Some(text.to_owned()), ..pod([app(Activity::Running(Readiness::Ready))]) },
            pod([crashing(Termination { reason: text.to_owned(), message: text.to_owned(), exit_code: 1 }, 1)]),
        ];
        for (number, message) in (0..=pods.len()).flat_map(|number| [(number, None), (number, Some(text))]) {
            for reason in
                [failure(message, DEADLINE, Some(&pods[..number])), failure(message, DEADLINE, Some(&pods[number..]))]
            {
                assert!(reason.chars().count() <= MAX_REASON_CHARACTERS, "{reason}");
                assert!(!reason.contains(['\n', '\r', '\t', '\u{2028}']), "{reason}");
                assert!(!reason.is_empty());
            }
        }
    }
}
