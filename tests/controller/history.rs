//! The first start on a cluster where Deployments have lived for long, and the second.

use rollout::Accuracy::Exact;

use crate::TestResult;
use crate::fixture::{Controller, DEADLINE, Installation, RELEASE};
use crate::objects::{created, progressed};
use crate::stage::{Row, Stage, next_second};
use crate::web::Web;

/// The Deployments that were there before, each in a namespace of its own.
struct Cluster<'a> {
    plain: Stage<'a>,
    undone: Stage<'a>,
    failed: Stage<'a>,
    open: Stage<'a>,
}

impl<'a> Cluster<'a> {
    async fn fill(on: &'a Installation) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let stage = async |name| Stage::on(on, name).await;
        let [plain, undone, failed, open] =
            [stage("plain").await?, stage("undone").await?, stage("failed").await?, stage("open").await?];
        let first = undone.gated(Web::default());
        undone.open_gate().await?;
        for stage in [&plain, &failed] {
            stage.apply(&Web::default()).await?;
        }
        undone.apply(&first).await?;
        for stage in [&plain, &undone, &failed] {
            stage.complete(1).await?;
        }
        // The ReplicaSets' times differ: they are whole seconds.
        next_second().await?;
        for stage in [&plain, &undone] {
            stage.apply(&Web::image("app:v2")).await?;
        }
        failed.apply_failing(&Web::broken()).await?;
        for stage in [&plain, &undone] {
            stage.complete(2).await?;
        }
        next_second().await?;
        plain.apply(&Web::image("app:v3")).await?;
        plain.complete(3).await?;
        undo(&undone, &first).await?;
        on.progressing(&failed.namespace, "web", "ProgressDeadlineExceeded").await?;
        open.apply_stuck(&Web::broken(), 1).await?;
        next_second().await?;
        Ok(Self { plain, undone, failed, open })
    }

    /// Waits until all of them are recorded so, in the order of the fields.
    async fn tables(&self, expected: [&[&str]; 4]) -> Result<[Vec<Row>; 4], Box<dyn std::error::Error + Send + Sync>> {
        let [plain, undone, failed, open] = expected;
        Ok([
            self.plain.table(plain).await?,
            self.undone.table(undone).await?,
            self.failed.table(failed).await?,
            self.open.table(open).await?,
        ])
    }
}

/// Goes back to the first revision. The Deployment controller renews the condition only if it looks while both revisions have pods: they
/// have until the gate is opened.
async fn undo(stage: &Stage<'_>, first: &Web) -> TestResult {
    stage.close_gate().await?;
    stage.kubectl("rollout undo deployment/web").await?;
    stage.stands_still(first, 1).await?;
    stage.open_gate().await?;
    stage.complete(3).await?;
    stage.named(first.image).await?;
    stage.on.progressing(&stage.namespace, "web", "NewReplicaSetAvailable").await?;
    Ok(())
}

/// Starts a controller and waits until a rollout has gone all the way: what was there before has been looked at by then.
async fn start(on: &Installation, settings: &str) -> Result<Controller, Box<dyn std::error::Error + Send + Sync>> {
    let controller = on.start_controller_with_settings(settings).await?;
    controller.logs("this replica leads").await?;
    let after = Stage::on(on, "after").await?;
    after.apply(&Web::default()).await?;
    after.table(&["web:1 Initial Succeeded success"]).await?;
    Ok(controller)
}

/// What changes when a record or its entity is written.
fn writes(tables: &[Vec<Row>; 4]) -> Vec<(String, u64)> {
    tables.iter().flatten().map(|row| (row.version().to_owned(), row.writes())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_setting_says_which_revisions_from_before_are_reported_and_none_is_twice() -> TestResult {
    let on = Installation::alone().await?;
    let cluster = Cluster::fill(&on).await?;
    let open: &[&str] = &["web:1 Initial InProgress InProgress"];
    let none: [&[&str]; 4] = [&[], &[], &[], open];
    let current: [&[&str]; 4] = [
        &["web:3 Release Succeeded success"],
        &["web:3 Rollback Succeeded success"],
        &["web:2 Release Failed failed"],
        open,
    ];
    let all: [&[&str]; 4] = [
        &["web:1 Initial Unobserved unknown", "web:2 Release Unobserved unknown", "web:3 Release Succeeded success"],
        &["web:1 Initial Unobserved unknown", "web:2 Release Unobserved unknown", "web:3 Rollback Succeeded success"],
        &["web:1 Initial Unobserved unknown", "web:2 Release Failed failed"],
        open,
    ];
    for (settings, expected) in
        [("", none), ("rollouts: {history: current}", current), ("rollouts: {history: all}", all)]
    {
        let mut controller = start(&on, settings).await?;
        let first = cluster.tables(expected).await?;
        check_times(&cluster, &first).await?;
        controller.process.kill()?;
        let mut controller = start(&on, settings).await?;
        let second = cluster.tables(expected).await?;
        assert_eq!(writes(&second), writes(&first), "the start after a SIGKILL wrote something, {settings:?}");
        // What it does on a SIGTERM doesn't depend on the settings.
        if expected == all {
            controller.process.terminate(DEADLINE).await?;
            controller = start(&on, settings).await?;
            let third = cluster.tables(expected).await?;
            assert_eq!(writes(&third), writes(&first), "the start after a SIGTERM wrote something, {settings:?}");
        }

        // As if it had never been installed.
        controller.process.terminate(DEADLINE).await?;
        on.kubectl(["delete", "ddep", "--all", "--all-namespaces"]).await?;
        on.kubectl(["delete", "lease", "--all", "--namespace", RELEASE]).await?;
        on.port.clear_entities("dora_deployment");
        next_second().await?;
    }
    Ok(())
}

/// Each time is that of the cluster, and not that of the installation.
async fn check_times(cluster: &Cluster<'_>, tables: &[Vec<Row>; 4]) -> TestResult {
    let [plain, undone, failed, _] = tables;
    for row in plain {
        let revision = row.record.spec.revision.as_ref().unwrap().number;
        let replica_set = cluster.plain.replica_set(&format!("app:v{revision}")).await?;
        assert_eq!(row.started(), (created(&replica_set), Exact), "{revision}");
    }
    for (stage, table) in [(&cluster.plain, plain), (&cluster.undone, undone), (&cluster.failed, failed)] {
        let Some((last, before)) = table.split_last() else { continue };
        assert_eq!(last.finished(), (progressed(&stage.web().await?), Exact), "{}", stage.namespace);
        assert!(before.iter().all(|row| row.record.spec.finished_at.is_none()), "nobody knows: {}", stage.namespace);
    }
    Ok(())
}
