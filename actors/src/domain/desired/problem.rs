//! Problems of an Ingress: parts of it that cannot be served as requested, each with the reason and
//! the remedy for the user.

use std::sync::Arc;

use crate::domain::cas::Refusal;
use crate::domain::certificate::UnknownAlgorithm;
use crate::domain::ingress::ANNOTATIONS;
use crate::domain::limits;
use crate::domain::name::{BadName, DnsName};
use crate::domain::public_name::NotPublic;
use crate::domain::solver_place::UnknownPlace;

/// Part of an Ingress that cannot be served. Reported to the user once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum Problem {
    /// A host that our certificates cannot contain.
    #[error("host `{host}` {why}")]
    BadHost {
        /// The host as written, shortened for display.
        host: String,
        /// Reason.
        why: BadName,
    },
    /// No host at all: only a default backend, or rules without hosts.
    #[error("it has no host that a certificate could be issued for")]
    NoHosts,
    /// A `spec.tls` block without `secretName`.
    #[error(
        "spec.tls[{block}] has no secretName, so its certificate cannot be stored: name a Secret there, or, if the \
         controller's default certificate is meant, say so with the annotation ingress-acme.dev/fill-tls: \"false\""
    )]
    NoSecretName {
        /// Index into `spec.tls`.
        block: usize,
    },
    /// An unknown value of the annotation `ingress-acme.dev/key-algorithm`; the default is used.
    #[error("annotation ingress-acme.dev/key-algorithm: {0}; that of --key-algorithm is used")]
    BadAlgorithm(UnknownAlgorithm),
    /// An unknown value of the annotation `ingress-acme.dev/solver-place`.
    #[error("annotation ingress-acme.dev/solver-place: {0}; the place of its class is used")]
    BadPlace(UnknownPlace),
    /// The CA that the annotation asks for is not to be had.
    #[error(
        "annotation ingress-acme.dev/ca: `{ca}` {why}; nothing new is ordered, and a certificate that is there is renewed by \
         the CA that issued it"
    )]
    RefusedCa {
        /// The value, cut.
        ca: String,
        /// Reason.
        why: Refusal,
    },
    /// The class is too long, so no solver Ingress gets it.
    #[error(
        "its class (annotation kubernetes.io/ingress.class) is longer than {} bytes, so no solver Ingress can have it",
        limits::ANNOTATION
    )]
    LongClass,
    /// The Ingress asks for a group and cannot join one.
    #[error("{0}")]
    NotGrouped(NotGrouped),
    /// A `spec.tls` block whose `secretName` is not the name of a Secret.
    #[error(
        "spec.tls[{block}] has a secretName that is not the name of a Secret (a DNS name of 253 characters at most)"
    )]
    BadSecretName {
        /// Index into `spec.tls`.
        block: usize,
    },
    /// More `spec.tls` blocks than [`limits::TLS_BLOCKS`].
    #[error(
        "it has {count} spec.tls blocks: new certificates are issued for the first {}, and present ones are renewed for \
         the first {}; split it into several Ingresses",
        limits::TLS_BLOCKS,
        limits::TLS_BLOCKS_READ
    )]
    TooManyBlocks {
        /// Number of blocks.
        count: usize,
    },
    /// The value of an annotation of ours is too long, so the annotation is not read.
    #[error(
        "annotation ingress-acme.dev/{0} has no effect, because its value is longer than {longest} bytes",
        longest = longest(.0)
    )]
    LongAnnotation(&'static str),
    /// Hosts that no public CA certifies, while the CA in use is public.
    #[error(
        "host `{host}` {why}, so no public CA certifies it and none is asked{}; use a public name, or a private CA \
         (--public-ca false, if this one is)",
        likewise(*.others)
    )]
    NotPublic {
        /// The first of them.
        host: String,
        /// Reason against the first.
        why: NotPublic,
        /// Number of the others.
        others: usize,
    },
    /// Wildcards that no DNS account proves for the namespace of the Ingress.
    #[error(
        "host {host} is a wildcard, which is proved in DNS, and no DNS account has its zone for namespace {namespace}{}; \
         whoever runs ingress-acme can add one (docs/dns.md)",
        likewise(*.others)
    )]
    Unproved {
        /// The first such wildcard.
        host: DnsName,
        /// Namespace of the Ingress.
        namespace: Arc<str>,
        /// Number of the others.
        others: usize,
    },
    /// Names that the user wants proved in DNS, and that no DNS account proves for the namespace.
    #[error(
        "annotation ingress-acme.dev/challenge: no DNS account has the zone of {host} for its namespace{}, so HTTP-01 \
         proves it",
        likewise(*.others)
    )]
    ByHttp {
        /// The first such name.
        host: DnsName,
        /// Number of the others.
        others: usize,
    },
    /// An Ingress of another namespace has the host.
    #[error(
        "host {host} belongs to an Ingress of another namespace, which has a certificate for {host} or named {host} \
         first; {host} is served here when that Ingress lets go of it (the operator's flag \
         --allow-cross-namespace-hosts allows both)"
    )]
    HostTaken {
        /// The host.
        host: DnsName,
    },
    /// An annotation of the controller serves a name that is in no certificate.
    #[error(
        "annotation {annotation} serves {name}{}, which is in no certificate: over HTTPS, browsers show an error there. \
         Add it to the hosts of the rules, or to those of spec.tls",
        likewise(*.others)
    )]
    Alias {
        /// The annotation.
        annotation: &'static str,
        /// The first such name.
        name: DnsName,
        /// Number of the others.
        others: usize,
    },
    /// Ingresses of several namespaces hold a certificate for the host.
    #[error(
        "host {host} also has a certificate in another namespace; both are renewed, because both were there before"
    )]
    HostShared {
        /// The host.
        host: DnsName,
    },
    /// More than [`limits::SHARERS`] Ingresses share a Secret. All are served; this is told once,
    /// on the first of them by name.
    #[error(
        "more than {most} Ingresses share Secret {secret}: all are served, but only the {most} oldest own the Secret, and \
         only their annotation ingress-acme.dev/renew counts",
        most = limits::SHARERS
    )]
    ManySharers {
        /// Name of the Secret.
        secret: Arc<str>,
    },
    /// The Ingress opts out, and `spec.tls` is as we filled it in.
    #[error(
        "left alone from now on: spec.tls, which ingress-acme had filled in, and Secret {secret} stay, and the certificate \
         is no longer renewed. With ingress-acme.dev/fill-tls: \"false\" instead, spec.tls is taken back"
    )]
    StaysFilled {
        /// Name of the Secret.
        secret: String,
    },
    /// Annotations that are to be copied to the Secret are too many or too long.
    #[error(
        "{count} of the annotations that --copy-annotations copies to the Secret are not copied: {most} of {bytes} bytes \
         each are. Shorten or remove some of them",
        most = limits::COPIED,
        bytes = limits::COPIED_VALUE
    )]
    NotCopied {
        /// Number of annotations that are not copied.
        count: usize,
    },
    /// The API server does not let the operator look at the Secrets that the Ingress may have.
    #[error(
        "ingress-acme may not look for its Secret: {why}. A name is chosen, and a certificate issued or renewed, once that \
         is allowed; it is tried again by itself, and after an edit. Naming a Secret in spec.tls does without"
    )]
    SecretRefused {
        /// Answer of the API server, cut for display.
        why: String,
    },
    /// The Ingresses that share a Secret have a host in more than [`limits::CLASSES_PER_HOST`]
    /// classes, and the class of this one is beyond them.
    #[error(
        "its class gets no route for the challenges of host {host}{}: the Ingresses that share Secret {secret} have more \
         than {most} classes for it, and the first {most} by the names of the Ingresses are routed. That is enough if one \
         of these classes serves {host} to the Internet; otherwise name another Secret here",
        likewise(*.others),
        most = limits::CLASSES_PER_HOST
    )]
    ManyClasses {
        /// Name of the Secret.
        secret: Arc<str>,
        /// The first such host.
        host: DnsName,
        /// Number of the others.
        others: usize,
    },
    /// The Ingresses of the namespace are larger than what is kept of one namespace.
    #[error(
        "the Ingresses of its namespace are too large together: {mebibytes} MiB are kept of a namespace, a quarter of it of \
         Ingresses with hundreds of hosts. A certificate that it has stays, and is not renewed. It is served within {} \
         minutes once others are deleted, or in another namespace",
        limits::ROOM_LOOK.as_secs() / 60
    )]
    NamespaceFull {
        /// Memory for the Ingresses of one namespace.
        mebibytes: usize,
    },
    /// More problems than [`limits::PROBLEMS`].
    #[error("and {count} more problems")]
    More {
        /// Number of problems that are not listed.
        count: usize,
    },
}

/// Reason why an Ingress is in no group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum NotGrouped {
    /// The user's own `spec.tls` names the Secret.
    #[error(
        "annotation ingress-acme.dev/group has no effect where spec.tls names a Secret: leave out spec.tls, or name one \
         Secret in several Ingresses"
    )]
    OwnTls,
    /// The hosts have no common registered domain.
    #[error(
        "annotation ingress-acme.dev/group needs hosts of one registered domain; the Ingress has a certificate of its own"
    )]
    ManyDomains,
}

impl Problem {
    /// Whether the problem ends without an edit of the Ingress.
    pub(crate) fn ends_by_itself(&self) -> bool {
        matches!(
            self,
            Self::HostTaken { .. }
                | Self::NamespaceFull { .. }
                | Self::SecretRefused { .. }
                | Self::Unproved { .. }
                | Self::ByHttp { .. }
        )
    }

    /// Whether all hosts of the Ingress are served nevertheless.
    pub(crate) fn is_served(&self) -> bool {
        matches!(
            self,
            Self::ManySharers { .. }
                | Self::ManyClasses { .. }
                | Self::HostShared { .. }
                | Self::Alias { .. }
                | Self::NotCopied { .. }
                | Self::BadPlace(_)
                | Self::ByHttp { .. }
        )
    }
}

/// Number of other hosts with the same problem, in words.
pub(crate) fn likewise(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => " (and 1 other host likewise)".to_owned(),
        more => format!(" (and {more} other hosts likewise)"),
    }
}

/// Longest value of an annotation of ours, in bytes.
fn longest(short: &str) -> usize {
    let known = ANNOTATIONS.iter().find(|(name, _)| *name == short);
    known.map_or(limits::ANNOTATION, |(_, longest)| *longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_value_of_an_annotation_is_that_of_its_row() {
        for (name, most) in ANNOTATIONS {
            assert_eq!(longest(name), most, "{name}");
            let text = Problem::LongAnnotation(name).to_string();
            assert!(text.contains(&format!("longer than {most} bytes")), "{text}");
        }
        assert_eq!(longest("unknown"), limits::ANNOTATION);
    }
}
