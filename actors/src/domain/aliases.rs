//! Names that annotations of a controller serve beside the hosts of an Ingress, by a redirect or an
//! alias. They are in no certificate of ours: the rules say who has a host, and an annotation
//! claims none.

use crate::domain::name::DnsName;

/// A name that an annotation serves.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Alias {
    /// The annotation.
    pub annotation: &'static str,
    /// The name.
    pub name: DnsName,
}
