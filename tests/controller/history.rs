//! The first start on a cluster with existing Deployments, and the starts after it.

use cluster::DEADLINE;
use cluster::clock::next_second;
use rollout::Accuracy::Exact;

use crate::fixture::{Controller, Installation, RELEASE};
use crate::objects::{created, last_progress};
use crate::test_env::{Row, TestEnv};
use crate::web::Web;
use crate::{Error, TestResult};

/// The existing Deployments, each in a namespace of its own.
struct Existing<'a> {
    plain: TestEnv<'a>,
    undone: TestEnv<'a>,
    failed: TestEnv<'a>,
    open: TestEnv<'a>,
}

impl<'a> Existing<'a> {
    async fn create(setup: &'a Installation) -> Result<Self, Error> {
        let env = async |name| TestEnv::on(setup, name).await;
        let [plain, undone, failed, open] =
            [env("plain").await?, env("undone").await?, env("failed").await?, env("open").await?];
        let first = undone.gated(Web::default());
        undone.open_gate().await?;
        for env in [&plain, &failed] {
            env.apply(&Web::default()).await?;
        }
        undone.apply(&first).await?;
        for env in [&plain, &undone, &failed] {
            env.complete(1).await?;
        }
        // Times are whole seconds, so this makes the times of the ReplicaSets different.
        next_second().await?;
        for env in [&plain, &undone] {
            env.apply(&Web::image("app:v2")).await?;
        }
        failed.apply_failing(&Web::broken()).await?;
        for env in [&plain, &undone] {
            env.complete(2).await?;
        }
        next_second().await?;
        plain.apply(&Web::image("app:v3")).await?;
        plain.complete(3).await?;
        undo(&undone, &first).await?;
        setup.progressing(&failed.namespace, "web", "ProgressDeadlineExceeded").await?;
        open.apply_stalled(&Web::broken(), 1).await?;
        next_second().await?;
        Ok(Self { plain, undone, failed, open })
    }

    /// Waits until the Deployments have these records, in the order of the fields.
    async fn tables(&self, expected: [&[&str]; 4]) -> Result<[Vec<Row>; 4], Error> {
        let [plain, undone, failed, open] = expected;
        Ok([
            self.plain.table(plain).await?,
            self.undone.table(undone).await?,
            self.failed.table(failed).await?,
            self.open.table(open).await?,
        ])
    }
}

/// Rolls back to the first revision. The Deployment controller updates the condition only if it reconciles while both
/// revisions have pods. The gate ensures that they have.
async fn undo(env: &TestEnv<'_>, first: &Web) -> TestResult {
    env.close_gate().await?;
    env.kubectl("rollout undo deployment/web").await?;
    env.stalled(first, 1).await?;
    env.open_gate().await?;
    env.complete(3).await?;
    env.condition_names(first.image).await?;
    env.setup.progressing(&env.namespace, "web", "NewReplicaSetAvailable").await?;
    Ok(())
}

/// Starts a controller and waits until a new rollout is delivered. By then, the controller has handled the existing
/// ones.
async fn start(setup: &Installation, settings: &str) -> Result<Controller, Error> {
    let controller = setup.start_controller_with_settings(settings).await?;
    controller.leads().await?;
    let after = TestEnv::on(setup, "after").await?;
    after.apply(&Web::default()).await?;
    after.table(&["web:1 Initial Succeeded success"]).await?;
    Ok(controller)
}

/// Values that change when a record or its entity is written.
fn writes(tables: &[Vec<Row>; 4]) -> Vec<(String, u64)> {
    tables.iter().flatten().map(|row| (row.version().to_owned(), row.writes())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_revisions_are_reported_as_configured() -> TestResult {
    let setup = Installation::exclusive().await?;
    let existing = Existing::create(&setup).await?;
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
        let mut controller = start(&setup, settings).await?;
        let first = existing.tables(expected).await?;
        check_times(&existing, &first).await?;
        controller.process.kill()?;
        let mut controller = start(&setup, settings).await?;
        let second = existing.tables(expected).await?;
        assert_eq!(writes(&second), writes(&first), "the start after a SIGKILL wrote something, {settings:?}");
        // The behaviour on SIGTERM doesn't depend on the settings.
        if expected == all {
            controller.process.terminate(DEADLINE).await?;
            controller = start(&setup, settings).await?;
            let third = existing.tables(expected).await?;
            assert_eq!(writes(&third), writes(&first), "the start after a SIGTERM wrote something, {settings:?}");
        }

        // Restore the state before the installation.
        controller.process.terminate(DEADLINE).await?;
        setup.kubectl(["delete", "ddep", "--all", "--all-namespaces"]).await?;
        setup.kubectl(["delete", "lease", "--all", "--namespace", RELEASE]).await?;
        setup.port.clear_entities("dora_deployment");
        next_second().await?;
    }
    Ok(())
}

/// Checks that each time is from the cluster, and not that of the installation.
async fn check_times(existing: &Existing<'_>, tables: &[Vec<Row>; 4]) -> TestResult {
    let [plain, undone, failed, _] = tables;
    for row in plain {
        let revision = row.record.spec.revision.as_ref().unwrap().number;
        let replica_set = existing.plain.replica_set(&format!("app:v{revision}")).await?;
        assert_eq!(row.started(), (created(&replica_set), Exact), "{revision}");
    }
    for (env, table) in [(&existing.plain, plain), (&existing.undone, undone), (&existing.failed, failed)] {
        let Some((last, before)) = table.split_last() else { continue };
        assert_eq!(last.finished(), (last_progress(&env.web().await?), Exact), "{}", env.namespace);
        assert!(
            before.iter().all(|row| row.record.spec.finished_at.is_none()),
            "the end is unknown: {}",
            env.namespace
        );
    }
    Ok(())
}
