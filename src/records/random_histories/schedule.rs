//! When the controller learns of what, looks at it, and is away.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;

use super::observer::{Observer, Watch};

/// One thing that befalls the controller.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Each watch brings so many events.
    Go {
        deployments: u8,
        replica_sets: u8,
    },
    /// The last event comes again.
    Repeat(bool),
    Look,
    /// It does not come to tell the index that all is written.
    LookInVain,
    /// It dies after so many writes, or without, and another one begins so many events later.
    Crash {
        writes: Option<u8>,
        missed: u8,
        between: u8,
    },
    /// A watch misses events and lists.
    Interrupt {
        deployments: bool,
        missed: u8,
    },
}

fn attentive() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..6_u8, 0..6_u8).prop_map(|(deployments, replica_sets)| Act::Go { deployments, replica_sets }),
        1 => any::<bool>().prop_map(Act::Repeat),
        4 => Just(Act::Look),
        1 => Just(Act::LookInVain),
    ]
}

fn any_act() -> impl Strategy<Value = Act> {
    let writes = prop_oneof![2 => Just(None), 1 => (1..4_u8).prop_map(Some)];
    prop_oneof![
        8 => attentive(),
        1 => (writes, 0..30_u8, 0..4_u8)
            .prop_map(|(writes, missed, between)| Act::Crash { writes, missed, between }),
        1 => (any::<bool>(), 0..30_u8).prop_map(|(deployments, missed)| Act::Interrupt { deployments, missed }),
    ]
}

/// The controller is never away, however late it is.
pub fn without_absence() -> impl Strategy<Value = Vec<Act>> {
    vec(attentive(), 1..40)
}

/// The controller dies, and its watches are interrupted.
pub fn with_absences() -> impl Strategy<Value = Vec<Act>> {
    vec(any_act(), 1..40)
}

/// Goes through all of the log, with `acts` over and over, and looks at the end.
pub fn follow(observer: &mut Observer<'_>, acts: &[Act]) -> Result<(), String> {
    while !observer.is_at_end() {
        let before = (observer.position(Watch::Deployments), observer.position(Watch::ReplicaSets));
        for act in acts {
            act.befall(observer)?;
        }
        if before == (observer.position(Watch::Deployments), observer.position(Watch::ReplicaSets)) {
            observer.deliver(Watch::Deployments);
            observer.deliver(Watch::ReplicaSets);
        }
    }
    observer.look(None, true)
}

impl Act {
    fn befall(self, observer: &mut Observer<'_>) -> Result<(), String> {
        match self {
            Self::Go { deployments, replica_sets } => {
                for _ in 0..deployments {
                    observer.deliver(Watch::Deployments);
                }
                for _ in 0..replica_sets {
                    observer.deliver(Watch::ReplicaSets);
                }
            }
            Self::Repeat(deployments) => observer.repeat(watch(deployments)),
            Self::Look => observer.look(None, true)?,
            Self::LookInVain => observer.look(None, false)?,
            Self::Crash { writes, missed, between } => {
                if let Some(writes) = writes {
                    observer.look(Some(writes.into()), false)?;
                }
                observer.crash(missed.into(), between.into());
            }
            Self::Interrupt { deployments, missed } => observer.list(watch(deployments), missed.into()),
        }
        Ok(())
    }
}

fn watch(deployments: bool) -> Watch {
    if deployments { Watch::Deployments } else { Watch::ReplicaSets }
}
