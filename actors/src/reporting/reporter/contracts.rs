//! Snapshots of the answers, which other programs read. They are kept beside those of
//! `tests/contracts`.

use crate::domain::scheduling::dedup::{DedupMachine, Phase, SettleTimes};
use crate::domain::time::Timestamp;

/// Time of all examples.
pub(super) const NOW: Timestamp = Timestamp::from_secs(1_795_478_400);

/// Asserts that `text` equals the snapshot `name`.
pub(super) fn hold(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings
        .set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/contracts/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Returns one phase of each kind.
pub(super) fn phases() -> Vec<Phase> {
    let settle_times = SettleTimes::default();
    let mut machine = DedupMachine::new(settle_times);
    let mut all = vec![machine.phase()];
    machine.changed(NOW);
    all.push(machine.phase());
    machine.timer(NOW + settle_times.settle_max);
    all.push(machine.phase());
    machine.changed(NOW + settle_times.settle_max);
    all.push(machine.phase());
    all.push(Phase::Waiting { until: NOW });
    all
}
