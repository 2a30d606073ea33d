//! Annotations of an Ingress that its Secret gets too, for the programs that read them there: those
//! that copy Secrets to other namespaces, for example. The flag `--copy-annotations` says which,
//! and without it there are none.

use std::collections::BTreeMap;

use crate::domain::hash::stable_hash;
use crate::domain::limits;

/// Annotations by name: at most [`limits::COPIED`], of at most [`limits::COPIED_VALUE`] bytes each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Copied {
    by_name: BTreeMap<String, String>,
    /// Number of annotations beyond these bounds.
    left_out: usize,
}

impl Copied {
    /// Returns those of `annotations` (name and value) whose prefix, the part before the slash, is
    /// one of `prefixes`.
    pub fn of<'a>(
        prefixes: &[String],
        annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut copied = Self::default();
        for (name, value) in annotations {
            let prefix = name.split_once('/').map(|(prefix, _)| prefix);
            if prefix.is_some_and(|prefix| prefixes.iter().any(|one| one == prefix)) {
                copied.add(name, value);
            }
        }
        copied
    }

    fn add(&mut self, name: &str, value: &str) {
        if value.len() <= limits::COPIED_VALUE && self.by_name.len() < limits::COPIED {
            self.by_name.insert(name.to_owned(), value.to_owned());
        } else {
            self.left_out += 1;
        }
    }

    /// Adds those of another Ingress that shares the Secret, while there is room. Where both have
    /// an annotation, the value of the first one stays.
    pub(crate) fn add_those_of(&mut self, other: &Self) {
        for (name, value) in &other.by_name {
            if !self.by_name.contains_key(name) {
                self.add(name, value);
            }
        }
    }

    /// Number of annotations that are not copied.
    pub(crate) fn left_out(&self) -> usize {
        self.left_out
    }

    /// Bytes of all names and values.
    pub(crate) fn bytes(&self) -> usize {
        self.by_name.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_name.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Hash of the annotations, which the Secret keeps in an annotation of ours: it shows whether
    /// they are there, whatever other programs write under these prefixes. `None` if there are
    /// none.
    pub fn mark(&self) -> Option<String> {
        (!self.by_name.is_empty()).then(|| format!("{:016x}", stable_hash(&self.by_name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "reflector.v1.k8s.emberstack.com";

    fn copied(annotations: &[(&str, &str)]) -> Copied {
        Copied::of(&[PREFIX.to_owned()], annotations.iter().copied())
    }

    #[test]
    fn annotations_with_exactly_the_prefix_are_copied_and_none_without_the_flag() {
        let all = [
            ("reflector.v1.k8s.emberstack.com/reflection-allowed", "true"),
            ("x.reflector.v1.k8s.emberstack.com/a", "1"),
            ("reflector.v1.k8s.emberstack.community/a", "1"),
            ("reflector.v1.k8s.emberstack.com", "1"),
        ];
        let found = copied(&all);
        assert_eq!(found.iter().collect::<Vec<_>>(), all[..1]);
        assert_eq!(Copied::of(&[], all), Copied::default());
        assert_eq!(
            (Copied::default().mark(), found.mark() == Copied::default().mark()),
            (None, false)
        );
    }

    #[test]
    fn a_bounded_number_of_annotations_of_bounded_length_is_copied() {
        let names: Vec<String> = (0..1_000).map(|n| format!("{PREFIX}/a{n:04}")).collect();
        let long = "x".repeat(limits::COPIED_VALUE + 1);
        let all = names.iter().map(|name| (&**name, "1")).chain([("a/b", "1")]);
        let found = Copied::of(&[PREFIX.to_owned()], all);
        assert_eq!(
            (found.iter().count(), found.left_out()),
            (limits::COPIED, 1_000 - limits::COPIED)
        );
        let found = copied(&[(&*names[0], &*long), (&*names[1], "1")]);
        assert_eq!((found.iter().count(), found.left_out()), (1, 1));
    }

    #[test]
    fn of_two_ingresses_with_one_secret_the_first_one_decides_about_a_name_that_both_have() {
        let (one, two) = ("reflector.v1.k8s.emberstack.com/a", "reflector.v1.k8s.emberstack.com/b");
        let mut both = copied(&[(one, "first")]);
        both.add_those_of(&copied(&[(one, "second"), (two, "second")]));
        assert_eq!(both.iter().collect::<Vec<_>>(), [(one, "first"), (two, "second")]);
    }
}
