//! Flows of the whole operator on in-memory ports and a paused clock, one file for each subject.

mod bounds;
mod caa;
mod clocks;
mod crashes;
mod dedup;
mod edits;
mod events;
mod failures;
mod fallback;
mod flows;
mod grouping;
mod hard_cases;
mod ingresses;
mod installs;
mod ipv6;
mod journal;
mod journal_faults;
mod log_lines;
mod partial;
mod places;
mod rehearsal;
mod renewal;
mod secret_checks;
mod secret_names;
mod stale_views;
mod tenants;
