//! Stand-ins for the APIs of providers, as far as a TXT record is added, listed and removed. Each
//! follows the documentation of its provider, and keeps the records of one zone.

use serde_json::{Value, json};

use super::server::Asked;
use super::zone::{NAME, Record, SUB, ZONE, Zone};

/// An API: its host, the keys of an account, and its answers. `None` stands for 404.
pub(super) struct Api {
    pub(super) provider: &'static str,
    pub(super) hosts: &'static [&'static str],
    pub(super) keys: &'static [(&'static str, &'static str)],
    pub(super) answer: fn(&mut Zone, &Asked) -> Option<Value>,
}

/// A credential of most APIs. No answer may show it.
pub(super) const TOKEN: &str = "t0ken+of/a=test";
/// A token that an API gives for credentials.
pub(super) const ACCESS: &str = "an-access-token";
const ID: &[(&str, &str)] = &[("api-token", TOKEN)];

/// A text of a JSON document.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// All stand-ins, in the order of the providers.
pub(super) const APIS: &[Api] = &[
    Api {
        provider: "azure",
        hosts: &["login.microsoftonline.com", "management.azure.com"],
        keys: &[
            ("tenant-id", "tenant"),
            ("client-id", "client"),
            ("client-secret", TOKEN),
            ("subscription-id", "subscription"),
            ("resource-group", "group"),
        ],
        answer: azure,
    },
    Api {
        provider: "bunny",
        hosts: &["api.bunny.net"],
        keys: &[("api-key", TOKEN)],
        answer: bunny,
    },
    Api { provider: "cloudflare", hosts: &["api.cloudflare.com"], keys: ID, answer: cloudflare },
    Api { provider: "desec", hosts: &["desec.io"], keys: ID, answer: desec },
    Api {
        provider: "digitalocean",
        hosts: &["api.digitalocean.com"],
        keys: ID,
        answer: digitalocean,
    },
    Api {
        provider: "dnsimple",
        hosts: &["api.dnsimple.com"],
        keys: &[("api-token", TOKEN), ("account-id", "7")],
        answer: dnsimple,
    },
    Api {
        provider: "domeneshop",
        hosts: &["api.domeneshop.no"],
        keys: &[("api-token", "user"), ("api-secret", TOKEN)],
        answer: domeneshop,
    },
    Api {
        provider: "exoscale",
        hosts: &["api-ch-gva-2.exoscale.com"],
        keys: &[("api-key", "EXO1"), ("api-secret", TOKEN)],
        answer: exoscale,
    },
    Api { provider: "gandi", hosts: &["api.gandi.net"], keys: ID, answer: gandi },
    Api { provider: "gcore", hosts: &["api.gcore.com"], keys: ID, answer: gcore },
    Api {
        provider: "godaddy",
        hosts: &["api.godaddy.com"],
        keys: &[("api-key", "key"), ("api-secret", TOKEN)],
        answer: godaddy,
    },
    Api {
        provider: "google-cloud-dns",
        hosts: &["oauth2.googleapis.com", "dns.googleapis.com"],
        keys: &[("project", "project"), ("service-account", SERVICE_ACCOUNT)],
        answer: google,
    },
    Api { provider: "hetzner", hosts: &["api.hetzner.cloud"], keys: ID, answer: hetzner },
    Api { provider: "infomaniak", hosts: &["api.infomaniak.com"], keys: ID, answer: infomaniak },
    Api {
        provider: "inwx",
        hosts: &["api.domrobot.com"],
        keys: &[("username", "user"), ("password", TOKEN)],
        answer: inwx,
    },
    Api {
        provider: "ionos",
        hosts: &["api.hosting.ionos.com"],
        keys: &[("api-key", TOKEN)],
        answer: ionos,
    },
    Api { provider: "linode", hosts: &["api.linode.com"], keys: ID, answer: linode },
    Api {
        provider: "luadns",
        hosts: &["api.luadns.com"],
        keys: &[("username", "user"), ("api-token", TOKEN)],
        answer: luadns,
    },
    Api {
        provider: "name.com",
        hosts: &["api.name.com"],
        keys: &[("username", "user"), ("api-token", TOKEN)],
        answer: name_com,
    },
    Api { provider: "netlify", hosts: &["api.netlify.com"], keys: ID, answer: netlify },
    Api { provider: "ns1", hosts: &["api.nsone.net"], keys: &[("api-key", TOKEN)], answer: ns1 },
    Api {
        provider: "ovh",
        hosts: &["eu.api.ovh.com"],
        keys: &[
            ("endpoint", "ovh-eu"),
            ("application-key", "app"),
            ("application-secret", TOKEN),
            ("consumer-key", "consumer-of-a-test"),
        ],
        answer: ovh,
    },
    Api {
        provider: "porkbun",
        hosts: &["api.porkbun.com"],
        keys: &[("api-key", "pk1"), ("secret-api-key", TOKEN)],
        answer: porkbun,
    },
    Api {
        provider: "route53",
        hosts: &["route53.amazonaws.com"],
        keys: &[("access-key-id", "AKIA"), ("secret-access-key", TOKEN)],
        answer: route53,
    },
    Api { provider: "scaleway", hosts: &["api.scaleway.com"], keys: ID, answer: scaleway },
    Api {
        provider: "simply",
        hosts: &["api.simply.com"],
        keys: &[("account-name", "user"), ("api-key", TOKEN)],
        answer: simply,
    },
    Api { provider: "vercel", hosts: &["api.vercel.com"], keys: ID, answer: vercel },
    Api {
        provider: "vultr",
        hosts: &["api.vultr.com"],
        keys: &[("api-key", TOKEN)],
        answer: vultr,
    },
];

/// A service account with a key that was made for this test.
const SERVICE_ACCOUNT: &str = include_str!("service-account.json");

/// A record of an API that numbers records, with fields of these names.
fn numbered(record: &Record, [name, value]: [&str; 2], (sub, quoted): (bool, bool)) -> Value {
    let shown = if sub { record.sub() } else { &record.name };
    let content = if quoted { record.quoted() } else { record.value.clone() };
    json!({"id": record.id, name: shown, value: content, "type": "TXT", "ttl": 60})
}

/// The record with its number as text.
fn with_text_id(mut record: Value) -> Value {
    record["id"] = json!(record["id"].to_string());
    record
}

/// Creates, lists and deletes records by their numbers, below a path that ends with `records`.
fn by_number(
    zone: &mut Zone,
    asked: &Asked,
    (names, form): ([&str; 2], (bool, bool)),
    list: impl Fn(Value) -> Value,
) -> Option<Value> {
    let last = *asked.parts().last()?;
    match asked.method.as_str() {
        "GET" => Some(list(zone.each(|record| numbered(record, names, form)))),
        "POST" => {
            let pointers = names.map(|name| format!("/{name}"));
            let id = zone.add(text(&asked.json, &pointers[0]), text(&asked.json, &pointers[1]));
            let made = zone.all().iter().find(|record| record.id == id)?;
            Some(numbered(made, names, form))
        }
        "DELETE" => zone.delete(last).map(|()| json!({})),
        _ => None,
    }
}

fn azure(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    if asked.path.ends_with("/oauth2/v2.0/token") {
        return Some(json!({"access_token": ACCESS, "expires_in": 3600}));
    }
    assert!(asked.path.ends_with(&format!("/dnsZones/{ZONE}/TXT/{SUB}")), "{}", asked.path);
    match asked.method.as_str() {
        "PUT" => {
            let records = asked.json.pointer("/properties/TXTRecords")?.as_array()?.clone();
            zone.set(records.iter().map(|record| text(record, "/value/0")));
        }
        "DELETE" => zone.set([]),
        _ if zone.values(NAME).is_empty() => return None,
        _ => {}
    }
    let records = zone.of_challenge(|record| json!({"value": [record.value]}));
    Some(json!({"etag": "e", "properties": {"TTL": 60, "TXTRecords": records}}))
}

fn bunny(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    match (asked.method.as_str(), asked.parts().as_slice()) {
        ("GET", ["dnszone"]) => {
            let shown = |record: &Record| {
                json!({"Id": record.id, "Name": record.sub(), "Type": 3, "Value": record.value,
                    "Priority": 0, "Weight": 0, "Port": 0, "Flags": 0, "Tag": null})
            };
            let found = json!([{"Id": 1, "Domain": ZONE, "Records": zone.each(shown)}]);
            Some(json!({"Items": found, "CurrentPage": 1, "TotalItems": 1, "HasMoreItems": false}))
        }
        ("PUT", ["dnszone", "1", "records"]) => {
            zone.add(text(&asked.json, "/Name"), text(&asked.json, "/Value"));
            Some(json!({}))
        }
        ("DELETE", ["dnszone", "1", "records", id]) => zone.delete(id).map(|()| json!({})),
        _ => None,
    }
}

fn cloudflare(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    let good = |result| Some(json!({"errors": [], "success": true, "result": result}));
    match asked.parts().as_slice() {
        ["client", "v4", "zones"] => good(json!([{"id": "z", "name": ZONE}])),
        ["client", "v4", "zones", "z", "dns_records", ..] => {
            let form = (["name", "content"], (false, true));
            let all = by_number(zone, asked, form, |all| all)?;
            let Value::Array(all) = all else { return good(all) };
            let of_name = all.into_iter().filter(|record| record["name"] == *asked.query("name"));
            good(of_name.map(with_text_id).collect())
        }
        _ => None,
    }
}

fn desec(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    let path = asked.path.strip_prefix("/api/v1/domains/example.test/")?;
    let rrset = format!("rrsets/{SUB}/TXT/");
    match (asked.method.as_str(), path) {
        ("GET", "") => return Some(json!({"name": ZONE})),
        ("POST", "rrsets/") => zone.set(texts(&asked.json["records"])),
        ("PUT", path) if path == rrset => zone.set(texts(&asked.json["records"])),
        ("DELETE", path) if path == rrset => {
            zone.set([]);
            return Some(json!({}));
        }
        ("GET", path) if path == rrset => {}
        _ => return None,
    }
    let records = zone.of_challenge(|record| json!(record.quoted()));
    let is_there = !zone.values(NAME).is_empty();
    is_there.then(|| {
        json!({"created": "", "domain": ZONE, "subname": SUB, "name": NAME, "records": records,
            "ttl": 3600, "type": "TXT", "touched": ""})
    })
}

fn digitalocean(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert!(asked.path.starts_with("/v2/domains/example.test/records"), "{}", asked.path);
    let form = (["name", "data"], (true, false));
    by_number(zone, asked, form, |all| json!({"domain_records": all, "links": {}}))
}

fn dnsimple(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert!(asked.path.starts_with("/v2/7/zones/example.test/records"), "{}", asked.path);
    by_number(zone, asked, (["name", "content"], (true, false)), |all| json!({"data": all}))
}

fn domeneshop(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    match asked.parts().as_slice() {
        ["v0", "domains"] => Some(json!([{"id": 1, "domain": ZONE}])),
        ["v0", "domains", "1", "dns", ..] => {
            by_number(zone, asked, (["host", "data"], (true, false)), |all| all)
        }
        _ => None,
    }
}

fn exoscale(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    match asked.parts().as_slice() {
        ["v2", "dns-domain"] => Some(json!({"dns-domains": [{"id": "d", "unicode-name": ZONE}]})),
        ["v2", "dns-domain", "d", "record", ..] => {
            by_number(zone, asked, (["name", "content"], (true, true)), |all| {
                let all = all.as_array().cloned().unwrap_or_default();
                let all: Vec<Value> = all.into_iter().map(with_text_id).collect();
                json!({"dns-domain-records": all})
            })
        }
        _ => None,
    }
}

/// An API that reads and replaces all values of a name.
fn whole(
    zone: &mut Zone,
    asked: &Asked,
    shown: impl Fn(&Record) -> Value,
    taken: impl Fn(&Value) -> Vec<String>,
) -> Option<Value> {
    match asked.method.as_str() {
        "PUT" | "POST" => {
            let values = taken(&asked.json);
            zone.set(values.iter().map(String::as_str));
        }
        "DELETE" => zone.set([]),
        _ if zone.values(NAME).is_empty() => return None,
        _ => {}
    }
    Some(zone.of_challenge(shown))
}

/// Texts at a place of each object of a list.
fn each_text(list: &Value, pointer: &str) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.map(|one| text(one, pointer).to_owned()).collect()
}

fn gandi(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    let path = format!("/v5/livedns/domains/{ZONE}/records/{SUB}/TXT");
    assert_eq!(asked.path, path);
    let taken = |body: &Value| each_text(&body["rrset_values"], "");
    let values = whole(zone, asked, |record| json!(record.quoted()), taken)?;
    Some(json!({"rrset_values": values, "rrset_ttl": 300}))
}

fn gcore(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    match asked.path.as_str() {
        "/dns/v2/zones/example.test" => Some(json!({"name": ZONE})),
        "/dns/v2/zones/example.test/_acme-challenge.example.test/TXT" => {
            let taken = |body: &Value| each_text(&body["resource_records"], "/content/0");
            let shown = |record: &Record| json!({"content": [record.value]});
            let records = whole(zone, asked, shown, taken)?;
            Some(json!({"ttl": 60, "resource_records": records}))
        }
        _ => None,
    }
}

fn godaddy(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert_eq!(asked.path, format!("/v1/domains/{ZONE}/records/TXT/{SUB}"));
    let taken = |body: &Value| each_text(body, "/data");
    whole(zone, asked, |record| json!({"data": record.value, "ttl": 600}), taken)
}

fn google(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    let base = "/dns/v1/projects/project/managedZones";
    match asked.path.strip_prefix(base) {
        None if asked.path == "/token" => return Some(json!({"access_token": ACCESS})),
        Some("") => {
            return Some(json!({"managedZones": [{"name": "m", "dnsName": "example.test."}]}));
        }
        Some("/m/changes") => {
            let added = asked.json.pointer("/additions/0/rrdatas").map(texts).unwrap_or_default();
            let deleted = asked.json.pointer("/deletions/0/rrdatas").map(texts).unwrap_or_default();
            let before: Vec<String> =
                zone.values(NAME).iter().map(|value| format!("\"{value}\"")).collect();
            assert_eq!(deleted, before, "a change names what it replaces");
            zone.set(added);
            return Some(json!({}));
        }
        Some("/m/rrsets") => {}
        _ => return None,
    }
    let values = zone.of_challenge(|record| json!(record.quoted()));
    let rrset = json!({"name": format!("{NAME}."), "type": "TXT", "ttl": 60, "rrdatas": values});
    let all = if zone.values(NAME).is_empty() { json!([]) } else { json!([rrset]) };
    Some(json!({"rrsets": all}))
}

fn hetzner(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    let base = format!("/v1/zones/{ZONE}/rrsets");
    let values = each_text(&asked.json["records"], "/value");
    match asked.path.strip_prefix(&base)? {
        "" => {
            let records = zone.of_challenge(|record| json!({"value": record.quoted()}));
            return Some(json!({"rrsets": [{"type": "TXT", "records": records}]}));
        }
        "/_acme-challenge/TXT/actions/add_records" => {
            let known = zone.values(NAME);
            // The API refuses a value that is there.
            if values.iter().any(|value| known.contains(&super::zone::plain(value))) {
                return Some(
                    json!({"stand-in-status": 422, "error": {"code": "uniqueness_error"}}),
                );
            }
            for value in values {
                zone.add(NAME, &value);
            }
        }
        "/_acme-challenge/TXT/actions/remove_records" => {
            let removed: Vec<String> =
                values.iter().map(|value| super::zone::plain(value)).collect();
            let kept = zone.values(NAME);
            zone.set(kept.iter().filter(|value| !removed.contains(value)).map(String::as_str));
        }
        "/_acme-challenge/TXT/actions/change_ttl" => {}
        _ => return None,
    }
    Some(json!({"action": {}}))
}

fn infomaniak(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert!(asked.path.starts_with("/2/zones/example.test/records"), "{}", asked.path);
    let form = (["source", "target"], (true, true));
    let data = by_number(zone, asked, form, |all| all)?;
    Some(json!({"result": "success", "data": data}))
}

fn inwx(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    let params = &asked.json["params"];
    let data = match text(&asked.json, "/method") {
        "account.login" => json!({"tfa": "0"}),
        "nameserver.info" => {
            let form = |record: &Record| numbered(record, ["name", "content"], (false, false));
            json!({"record": zone.of_challenge(form)})
        }
        "nameserver.createRecord" => {
            json!({"id": zone.add(text(params, "/name"), text(params, "/content"))})
        }
        "nameserver.deleteRecord" => {
            let id = &params["id"];
            zone.delete(&id.as_str().map_or_else(|| id.to_string(), str::to_owned))?;
            json!({})
        }
        _ => return None,
    };
    Some(json!({"code": 1000, "resData": data}))
}

fn ionos(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    match (asked.method.as_str(), asked.parts().as_slice()) {
        ("GET", ["dns", "v1", "zones"]) => Some(json!([{"id": "z", "name": ZONE}])),
        ("GET", ["dns", "v1", "zones", "z"]) => {
            let shown = |record: &Record| {
                json!({"id": record.id.to_string(), "name": record.name, "type": "TXT",
                    "content": record.quoted(), "ttl": 60, "prio": 0, "disabled": false})
            };
            Some(json!({"records": zone.each(shown)}))
        }
        ("POST", ["dns", "v1", "zones", "z", "records"]) => {
            for record in asked.json.as_array()? {
                zone.add(text(record, "/name"), text(record, "/content"));
            }
            Some(json!([]))
        }
        ("DELETE", ["dns", "v1", "zones", "z", "records", id]) => {
            zone.delete(id).map(|()| json!({}))
        }
        _ => None,
    }
}

fn linode(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    match asked.parts().as_slice() {
        ["v4", "domains"] => Some(json!({"data": [{"id": 1, "domain": ZONE}]})),
        ["v4", "domains", "1", "records", ..] => {
            let list = |all| json!({"data": all, "page": 1, "pages": 1});
            by_number(zone, asked, (["name", "target"], (true, false)), list)
        }
        _ => None,
    }
}

fn luadns(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    match asked.parts().as_slice() {
        ["v1", "zones"] => Some(json!([{"id": 1, "name": ZONE}])),
        ["v1", "zones", "1", "records", ..] => {
            by_number(zone, asked, (["name", "content"], (false, false)), |all| all)
        }
        _ => None,
    }
}

fn name_com(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert!(asked.path.starts_with("/v4/domains/example.test/records"), "{}", asked.path);
    by_number(zone, asked, (["host", "answer"], (true, false)), |all| json!({"records": all}))
}

fn netlify(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    let path = "/api/v1/dns_zones/example_test/dns_records";
    assert!(asked.path.starts_with(path), "{}", asked.path);
    by_number(zone, asked, (["hostname", "value"], (false, false)), |all| {
        let all = all.as_array().cloned().unwrap_or_default();
        all.into_iter().map(with_text_id).collect()
    })
}

fn ns1(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert_eq!(asked.path, format!("/v1/zones/{ZONE}/{NAME}/TXT"));
    let taken = |body: &Value| each_text(&body["answers"], "/answer/0");
    let answers = whole(zone, asked, |record| json!({"answer": [record.value]}), taken)?;
    Some(json!({"answers": answers, "ttl": 60}))
}

fn ovh(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    match (asked.method.as_str(), asked.parts().as_slice()) {
        ("GET", ["1.0", "domain", "zone", ZONE]) => Some(json!({"name": ZONE})),
        ("POST", ["1.0", "domain", "zone", ZONE, "refresh"]) => Some(json!(null)),
        ("GET", ["1.0", "domain", "zone", ZONE, "record"]) => {
            Some(zone.of_challenge(|record| json!(record.id)))
        }
        ("GET", ["1.0", "domain", "zone", ZONE, "record", id]) => {
            let record = zone.all().iter().find(|record| record.id.to_string() == *id)?;
            Some(json!({"id": record.id, "fieldType": "TXT", "target": record.value}))
        }
        ("POST", _) => Some(
            json!({"id": zone.add(text(&asked.json, "/subDomain"), text(&asked.json, "/target"))}),
        ),
        ("DELETE", [.., id]) => zone.delete(id).map(|()| json!(null)),
        _ => None,
    }
}

fn porkbun(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    let records = match asked.parts().as_slice() {
        ["api", "json", "v3", "dns", "retrieveByNameType", ZONE, "TXT", SUB] => {
            zone.of_challenge(|record| {
                with_text_id(numbered(record, ["name", "content"], (false, false)))
            })
        }
        ["api", "json", "v3", "dns", "create", ZONE] => {
            zone.add(text(&asked.json, "/name"), text(&asked.json, "/content"));
            json!([])
        }
        ["api", "json", "v3", "dns", "delete", ZONE, id] => {
            zone.delete(id)?;
            json!([])
        }
        _ => return None,
    };
    Some(json!({"status": "SUCCESS", "records": records}))
}

/// XML in a JSON text, which the server sends as it is.
fn route53(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    let parts = asked.parts();
    let answer = match (asked.method.as_str(), parts.as_slice()) {
        ("GET", [_, "hostedzonesbyname"]) => {
            "<ListHostedZonesByNameResponse><HostedZones><HostedZone><Id>/hostedzone/Z1</Id>\
             <Name>example.test.</Name><CallerReference>a</CallerReference><Config><PrivateZone>false\
             </PrivateZone></Config></HostedZone></HostedZones><IsTruncated>false</IsTruncated>\
             <MaxItems>100</MaxItems></ListHostedZonesByNameResponse>"
                .to_owned()
        }
        ("GET", [_, "hostedzone", "Z1", "rrset"]) => {
            let records: String = zone
                .values(NAME)
                .iter()
                .map(|value| format!("<ResourceRecord><Value>\"{value}\"</Value></ResourceRecord>"))
                .collect();
            let rrset = format!(
                "<ResourceRecordSet><Name>{NAME}.</Name><Type>TXT</Type><TTL>60</TTL>\
                 <ResourceRecords>{records}</ResourceRecords></ResourceRecordSet>"
            );
            let rrset = if records.is_empty() { String::new() } else { rrset };
            format!(
                "<ListResourceRecordSetsResponse><ResourceRecordSets>{rrset}</ResourceRecordSets>\
                 <IsTruncated>false</IsTruncated><MaxItems>300</MaxItems></ListResourceRecordSetsResponse>"
            )
        }
        ("POST", [_, "hostedzone", "Z1", "rrset"]) => {
            let body = asked.body.replace("&quot;", "\"");
            let values = body.split("<Value>").skip(1);
            let values: Vec<&str> =
                values.filter_map(|rest| rest.split("</Value>").next()).collect();
            let is_delete = body.contains("<Action>DELETE</Action>");
            zone.set(if is_delete { Vec::new() } else { values });
            "<ChangeResourceRecordSetsResponse/>".to_owned()
        }
        _ => return None,
    };
    Some(Value::String(answer))
}

fn scaleway(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert_eq!(asked.path, format!("/domain/v2beta1/dns-zones/{ZONE}/records"));
    if asked.method == "GET" {
        let shown =
            |record: &Record| json!({"type": "TXT", "data": record.quoted(), "priority": 0});
        return Some(json!({"records": zone.of_challenge(shown)}));
    }
    for change in asked.json["changes"].as_array()? {
        for record in change.pointer("/add/records").and_then(Value::as_array).into_iter().flatten()
        {
            let is_there = zone.values(NAME).contains(&super::zone::plain(text(record, "/data")));
            if !is_there {
                zone.add(text(record, "/name"), text(record, "/data"));
            }
        }
        if let Some(fields) = change.pointer("/delete/id_fields") {
            let data = super::zone::plain(text(fields, "/data"));
            let kept = zone.values(NAME);
            zone.set(kept.iter().filter(|value| **value != data).map(String::as_str));
        }
    }
    Some(json!({"records": []}))
}

fn simply(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    if asked.path.trim_end_matches('/') == "/2/my/products" {
        let product = json!({"object": "o", "name": ZONE, "domain": {"name": ZONE}});
        return Some(json!({"products": [product]}));
    }
    assert!(asked.path.starts_with("/2/my/products/o/dns/records/"), "{}", asked.path);
    let form = (["name", "data"], (true, false));
    by_number(zone, asked, form, |all| {
        let mut all = all.as_array().cloned().unwrap_or_default();
        for record in &mut all {
            record["record_id"] = record["id"].clone();
        }
        json!({"records": all})
    })
}

fn vercel(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    let form = (["name", "value"], (true, false));
    by_number(zone, asked, form, |all| {
        let all = all.as_array().cloned().unwrap_or_default();
        let all: Vec<Value> = all.into_iter().map(with_text_id).collect();
        json!({"records": all})
    })
}

fn vultr(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert!(asked.path.starts_with("/v2/domains/example.test/records"), "{}", asked.path);
    by_number(zone, asked, (["name", "data"], (true, true)), |all| {
        let all = all.as_array().cloned().unwrap_or_default();
        let all: Vec<Value> = all.into_iter().map(with_text_id).collect();
        json!({"records": all, "meta": {}})
    })
}
