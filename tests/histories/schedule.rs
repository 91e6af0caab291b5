//! Random schedules: when the controller gets events, when it reconciles, and when it is away.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;

use super::Mismatch;
use super::observer::{Observer, Watch};

/// One thing that happens to the controller.
#[derive(Clone, Copy, Debug)]
pub enum ScheduleStep {
    /// Each watch delivers this many events.
    Deliver { deployments: u8, replica_sets: u8 },
    /// A watch delivers its last event again.
    Redeliver(Watch),
    /// The controller reconciles.
    Reconcile,
    /// The controller reconciles, and the index doesn't learn that everything is recorded.
    ReconcileUnacknowledged,
    /// The controller ends after this many writes, or without a reconciliation. Another one starts `missed` events
    /// later, and lists ReplicaSets `between` events after Deployments.
    Crash { writes: Option<u8>, missed: u8, between: u8 },
    /// A watch misses events, and lists again.
    Relist { watch: Watch, missed: u8 },
}

fn watch() -> impl Strategy<Value = Watch> {
    any::<bool>().prop_map(|deployments| if deployments { Watch::Deployments } else { Watch::ReplicaSets })
}

fn present_step() -> impl Strategy<Value = ScheduleStep> {
    prop_oneof![
        6 => (0..6_u8, 0..6_u8)
            .prop_map(|(deployments, replica_sets)| ScheduleStep::Deliver { deployments, replica_sets }),
        1 => watch().prop_map(ScheduleStep::Redeliver),
        4 => Just(ScheduleStep::Reconcile),
        1 => Just(ScheduleStep::ReconcileUnacknowledged),
    ]
}

fn any_step() -> impl Strategy<Value = ScheduleStep> {
    let writes = prop_oneof![2 => Just(None), 1 => (1..4_u8).prop_map(Some)];
    prop_oneof![
        8 => present_step(),
        1 => (writes, 0..30_u8, 0..4_u8)
            .prop_map(|(writes, missed, between)| ScheduleStep::Crash { writes, missed, between }),
        1 => (watch(), 0..30_u8).prop_map(|(watch, missed)| ScheduleStep::Relist { watch, missed }),
    ]
}

/// Schedules of a controller that may be late, but misses no event.
pub fn without_absence() -> impl Strategy<Value = Vec<ScheduleStep>> {
    vec(present_step(), 1..40)
}

/// Schedules of a controller that crashes, and whose watches are interrupted.
pub fn with_absences() -> impl Strategy<Value = Vec<ScheduleStep>> {
    vec(any_step(), 1..40)
}

/// Repeats `steps` until all events are delivered, and reconciles at the end.
pub fn follow(observer: &mut Observer<'_>, steps: &[ScheduleStep]) -> Result<(), Mismatch> {
    let positions =
        |observer: &Observer<'_>| (observer.position(Watch::Deployments), observer.position(Watch::ReplicaSets));
    while !observer.is_at_end() {
        let before = positions(observer);
        for step in steps {
            step.run(observer)?;
        }
        if before == positions(observer) {
            observer.deliver(Watch::Deployments);
            observer.deliver(Watch::ReplicaSets);
        }
    }
    observer.reconcile(None, true)
}

impl ScheduleStep {
    fn run(self, observer: &mut Observer<'_>) -> Result<(), Mismatch> {
        match self {
            Self::Deliver { deployments, replica_sets } => {
                for _ in 0..deployments {
                    observer.deliver(Watch::Deployments);
                }
                for _ in 0..replica_sets {
                    observer.deliver(Watch::ReplicaSets);
                }
            }
            Self::Redeliver(watch) => observer.redeliver(watch),
            Self::Reconcile => observer.reconcile(None, true)?,
            Self::ReconcileUnacknowledged => observer.reconcile(None, false)?,
            Self::Crash { writes, missed, between } => {
                if let Some(writes) = writes {
                    observer.reconcile(Some(writes.into()), false)?;
                }
                observer.crash(missed.into(), between.into());
            }
            Self::Relist { watch, missed } => observer.relist(watch, missed.into()),
        }
        Ok(())
    }
}
