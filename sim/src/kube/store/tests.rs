//! The store without sockets, with a constant clock.

use jiff::Timestamp;

use super::*;
use crate::kube::history::WatchEventType;
use crate::kube::ownership::Author;
use crate::kube::selector::{Fields, Selector};

const BY: Author<'_> = Author { manager: "test", now: Timestamp::UNIX_EPOCH, status: false };

struct World {
    store: Store,
    random: u128,
}

impl World {
    fn new() -> Self {
        let mut world = Self { store: Store::new(), random: 0 };
        for name in ["one", "two"] {
            world.make(Resource::Namespaces, "", name, &json!({}));
        }
        world
    }

    fn make(&mut self, resource: Resource, namespace: &str, name: &str, metadata: &Value) -> Value {
        self.random += 1;
        let mut object = json!({"metadata": metadata});
        object["metadata"]["name"] = json!(name);
        if resource == Resource::Ingresses {
            object["spec"] = json!({"rules": [{"host": "a.example.com"}]});
        }
        self.store.create(resource, namespace, object, &BY, self.random).unwrap().value()
    }

    fn label(&mut self, name: &str, value: &str) {
        let patch = json!({"metadata": {"labels": {"l": value}}});
        self.store.merge(Resource::Secrets, &Key::new("one", name), &patch, &BY).unwrap();
    }

    fn delete(&mut self, resource: Resource, namespace: &str, name: &str) {
        self.store.delete(resource, &Key::new(namespace, name), &Value::Null, &BY).unwrap();
    }

    fn page(&self, limit: usize, token: &str) -> Result<Page, Refusal> {
        self.store.list(&Listing { limit, token, ..all(&Selector::default(), &Fields::default()) })
    }

    fn changes_since(&self, selector: &str, since: u64, limit: usize) -> (Vec<String>, u64) {
        let selector = Selector::parse(selector).unwrap();
        let fields = Fields::default();
        let listing = Listing { limit, ..all(&selector, &fields) };
        let (changes, position) = self.store.changes(&listing, since).unwrap();
        let changes_since = |(event_type, object): (WatchEventType, Arc<Stored>)| {
            format!("{} {}", event_type.name(), object.key.name)
        };
        (changes.into_iter().map(changes_since).collect(), position)
    }

    fn secrets(&self) -> Vec<String> {
        let page = self.page(0, "").unwrap();
        page.items.iter().map(|item| item.key.name.to_string()).collect()
    }

    fn collect(&mut self) {
        for _ in 0..10 {
            self.store.collect(Timestamp::UNIX_EPOCH);
        }
        assert!(!self.store.has_garbage());
    }
}

fn all<'a>(selector: &'a Selector, fields: &'a Fields) -> Listing<'a> {
    Listing { resource: Resource::Secrets, namespace: None, selector, fields, limit: 0, token: "" }
}

fn owned_by(owners: &[&Value]) -> Value {
    let reference = |owner: &&Value| {
        let metadata = &owner["metadata"];
        json!({"apiVersion": "v1", "kind": "X", "name": metadata["name"], "uid": metadata["uid"]})
    };
    json!({"ownerReferences": owners.iter().map(reference).collect::<Vec<_>>()})
}

#[test]
fn a_list_goes_on_though_the_object_it_was_at_is_deleted_until_history_is_forgotten() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d"] {
        world.make(Resource::Secrets, "one", name, &json!({}));
    }
    let first = world.page(2, "").unwrap();
    world.delete(Resource::Secrets, "one", "b");
    world.make(Resource::Secrets, "two", "a", &json!({}));
    let token = first.token.unwrap();
    let second = world.page(2, &token).unwrap();
    let names: Vec<&str> = second.items.iter().map(|item| &*item.key.name).collect();
    assert_eq!((names, second.revision), (vec!["c", "d"], first.revision));
    assert_eq!(world.page(2, &second.token.unwrap()).unwrap().items.len(), 1);

    world.store.forget_history();
    let refusal = world.page(2, &token).unwrap_err();
    assert_eq!((refusal.code(), refusal.reason()), (410, "Expired"));
    let resume = refusal.body()["metadata"]["continue"].as_str().unwrap().to_owned();
    let rest = world.page(0, &resume).unwrap();
    assert_eq!((rest.items.len(), rest.revision), (3, world.store.revision()));
}

#[test]
fn a_watch_is_sent_in_batches_and_by_what_it_selects() {
    let mut world = World::new();
    let since = world.store.revision();
    world.make(Resource::Secrets, "one", "a", &json!({"labels": {"l": "x"}}));
    world.label("a", "y");
    world.make(Resource::Leases, "one", "elsewhere", &json!({}));
    world.label("a", "x");
    world.delete(Resource::Secrets, "one", "a");
    let all = ["ADDED a", "MODIFIED a", "MODIFIED a", "DELETED a"];
    assert_eq!(world.changes_since("", since, 10), (all.map(str::to_owned).into(), since + 5));
    let (x, _) = world.changes_since("l=x", since, 10);
    assert_eq!(x, ["ADDED a", "DELETED a", "ADDED a", "DELETED a"]);
    let (first, position) = world.changes_since("", since, 2);
    let (rest, _) = world.changes_since("", position, 10);
    assert_eq!([first, rest].concat(), all);
}

#[test]
fn an_object_goes_with_its_last_owner_and_what_it_owns_goes_too() {
    let mut world = World::new();
    let one = world.make(Resource::Ingresses, "one", "i", &json!({}));
    let two = world.make(Resource::Ingresses, "one", "j", &json!({}));
    let shared = world.make(Resource::Secrets, "one", "shared", &owned_by(&[&one, &two]));
    world.make(Resource::Secrets, "one", "below", &owned_by(&[&shared]));
    world.make(Resource::Secrets, "two", "elsewhere", &owned_by(&[&one]));
    world.collect();
    assert_eq!(world.secrets(), ["below", "shared"], "an owner counts in its namespace only");
    world.delete(Resource::Ingresses, "one", "i");
    world.collect();
    let shared = world.store.get(Resource::Secrets, &Key::new("one", "shared")).unwrap();
    assert_eq!(shared.owners.len(), 1);
    world.delete(Resource::Ingresses, "one", "j");
    world.collect();
    assert_eq!(world.secrets(), [""; 0]);
    assert!(world.store.garbage.is_clean(), "nothing is remembered of what is gone");
}

#[test]
fn a_namespace_takes_along_what_is_in_it() {
    let mut world = World::new();
    for number in 0..1200 {
        world.make(Resource::Secrets, "one", &format!("s{number}"), &json!({}));
    }
    world.make(Resource::Secrets, "two", "stays", &json!({}));
    world.delete(Resource::Namespaces, "", "one");
    let object = json!({"metadata": {"name": "late"}});
    let late = world.store.create(Resource::Secrets, "one", object, &BY, 0);
    assert_eq!(late.unwrap_err().code(), 403);
    world.collect();
    assert_eq!(world.secrets(), ["stays"]);
    assert!(world.store.get(Resource::Namespaces, &Key::new("", "one")).is_err());
}

#[test]
fn a_write_that_changes_nothing_has_no_revision() {
    let mut world = World::new();
    let made = world.make(Resource::Secrets, "one", "a", &json!({"labels": {"l": "x"}}));
    let before = world.store.revision();
    world.label("a", "x");
    world.store.replace(Resource::Secrets, &Key::new("one", "a"), made, &BY, 0).unwrap();
    assert_eq!(world.store.revision(), before);
}
