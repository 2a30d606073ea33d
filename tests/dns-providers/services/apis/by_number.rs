//! APIs that give each record a number, by which it is removed.

use serde_json::{Value, json};

use super::text;
use crate::services::server::Asked;
use crate::services::zone::{Record, SUB, ZONE, Zone};

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

pub(super) fn bunny(zone: &mut Zone, asked: &Asked) -> Option<Value> {
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

pub(super) fn cloudflare(zone: &mut Zone, asked: &Asked) -> Option<Value> {
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

pub(super) fn digitalocean(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert!(asked.path.starts_with("/v2/domains/example.test/records"), "{}", asked.path);
    let form = (["name", "data"], (true, false));
    by_number(zone, asked, form, |all| json!({"domain_records": all, "links": {}}))
}

pub(super) fn dnsimple(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert!(asked.path.starts_with("/v2/7/zones/example.test/records"), "{}", asked.path);
    by_number(zone, asked, (["name", "content"], (true, false)), |all| json!({"data": all}))
}

pub(super) fn domeneshop(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    match asked.parts().as_slice() {
        ["v0", "domains"] => Some(json!([{"id": 1, "domain": ZONE}])),
        ["v0", "domains", "1", "dns", ..] => {
            by_number(zone, asked, (["host", "data"], (true, false)), |all| all)
        }
        _ => None,
    }
}

pub(super) fn exoscale(zone: &mut Zone, asked: &Asked) -> Option<Value> {
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

pub(super) fn infomaniak(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert!(asked.path.starts_with("/2/zones/example.test/records"), "{}", asked.path);
    let form = (["source", "target"], (true, true));
    let data = by_number(zone, asked, form, |all| all)?;
    Some(json!({"result": "success", "data": data}))
}

pub(super) fn inwx(zone: &mut Zone, asked: &Asked) -> Option<Value> {
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

pub(super) fn ionos(zone: &mut Zone, asked: &Asked) -> Option<Value> {
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

pub(super) fn linode(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    match asked.parts().as_slice() {
        ["v4", "domains"] => Some(json!({"data": [{"id": 1, "domain": ZONE}]})),
        ["v4", "domains", "1", "records", ..] => {
            let list = |all| json!({"data": all, "page": 1, "pages": 1});
            by_number(zone, asked, (["name", "target"], (true, false)), list)
        }
        _ => None,
    }
}

pub(super) fn luadns(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    match asked.parts().as_slice() {
        ["v1", "zones"] => Some(json!([{"id": 1, "name": ZONE}])),
        ["v1", "zones", "1", "records", ..] => {
            by_number(zone, asked, (["name", "content"], (false, false)), |all| all)
        }
        _ => None,
    }
}

pub(super) fn name_com(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert!(asked.path.starts_with("/v4/domains/example.test/records"), "{}", asked.path);
    by_number(zone, asked, (["host", "answer"], (true, false)), |all| json!({"records": all}))
}

pub(super) fn netlify(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    let path = "/api/v1/dns_zones/example_test/dns_records";
    assert!(asked.path.starts_with(path), "{}", asked.path);
    by_number(zone, asked, (["hostname", "value"], (false, false)), |all| {
        let all = all.as_array().cloned().unwrap_or_default();
        all.into_iter().map(with_text_id).collect()
    })
}

pub(super) fn ovh(zone: &mut Zone, asked: &Asked) -> Option<Value> {
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

pub(super) fn porkbun(zone: &mut Zone, asked: &Asked) -> Option<Value> {
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

pub(super) fn simply(zone: &mut Zone, asked: &Asked) -> Option<Value> {
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

pub(super) fn vercel(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    let form = (["name", "value"], (true, false));
    by_number(zone, asked, form, |all| {
        let all = all.as_array().cloned().unwrap_or_default();
        let all: Vec<Value> = all.into_iter().map(with_text_id).collect();
        json!({"records": all})
    })
}

pub(super) fn vultr(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert!(asked.path.starts_with("/v2/domains/example.test/records"), "{}", asked.path);
    by_number(zone, asked, (["name", "data"], (true, true)), |all| {
        let all = all.as_array().cloned().unwrap_or_default();
        let all: Vec<Value> = all.into_iter().map(with_text_id).collect();
        json!({"records": all, "meta": {}})
    })
}
