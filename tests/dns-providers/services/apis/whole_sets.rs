//! APIs that read and replace all values of a name, or add and remove some of them.

use serde_json::{Value, json};

use super::{ACCESS, text, texts};
use crate::services::server::Asked;
use crate::services::zone::{NAME, Record, SUB, ZONE, Zone, plain};

pub(super) fn azure(zone: &mut Zone, asked: &Asked) -> Option<Value> {
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

pub(super) fn desec(zone: &mut Zone, asked: &Asked) -> Option<Value> {
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

pub(super) fn gandi(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    let path = format!("/v5/livedns/domains/{ZONE}/records/{SUB}/TXT");
    assert_eq!(asked.path, path);
    let taken = |body: &Value| each_text(&body["rrset_values"], "");
    let values = whole(zone, asked, |record| json!(record.quoted()), taken)?;
    Some(json!({"rrset_values": values, "rrset_ttl": 300}))
}

pub(super) fn gcore(zone: &mut Zone, asked: &Asked) -> Option<Value> {
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

pub(super) fn godaddy(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert_eq!(asked.path, format!("/v1/domains/{ZONE}/records/TXT/{SUB}"));
    let taken = |body: &Value| each_text(body, "/data");
    whole(zone, asked, |record| json!({"data": record.value, "ttl": 600}), taken)
}

pub(super) fn google(zone: &mut Zone, asked: &Asked) -> Option<Value> {
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

pub(super) fn hetzner(zone: &mut Zone, asked: &Asked) -> Option<Value> {
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
            if values.iter().any(|value| known.contains(&plain(value))) {
                return Some(
                    json!({"stand-in-status": 422, "error": {"code": "uniqueness_error"}}),
                );
            }
            for value in values {
                zone.add(NAME, &value);
            }
        }
        "/_acme-challenge/TXT/actions/remove_records" => {
            let removed: Vec<String> = values.iter().map(|value| plain(value)).collect();
            let kept = zone.values(NAME);
            zone.set(kept.iter().filter(|value| !removed.contains(value)).map(String::as_str));
        }
        "/_acme-challenge/TXT/actions/change_ttl" => {}
        _ => return None,
    }
    Some(json!({"action": {}}))
}

pub(super) fn ns1(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert_eq!(asked.path, format!("/v1/zones/{ZONE}/{NAME}/TXT"));
    let taken = |body: &Value| each_text(&body["answers"], "/answer/0");
    let answers = whole(zone, asked, |record| json!({"answer": [record.value]}), taken)?;
    Some(json!({"answers": answers, "ttl": 60}))
}

/// XML in a JSON text, which the server sends as it is.
pub(super) fn route53(zone: &mut Zone, asked: &Asked) -> Option<Value> {
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
            let values = zone.values(NAME);
            let each = |value| ["<ResourceRecord><Value>\"", value, "\"</Value></ResourceRecord>"];
            let records: String = values.iter().map(String::as_str).flat_map(each).collect();
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

pub(super) fn scaleway(zone: &mut Zone, asked: &Asked) -> Option<Value> {
    assert_eq!(asked.path, format!("/domain/v2beta1/dns-zones/{ZONE}/records"));
    if asked.method == "GET" {
        let shown =
            |record: &Record| json!({"type": "TXT", "data": record.quoted(), "priority": 0});
        return Some(json!({"records": zone.of_challenge(shown)}));
    }
    for change in asked.json["changes"].as_array()? {
        for record in change.pointer("/add/records").and_then(Value::as_array).into_iter().flatten()
        {
            let is_there = zone.values(NAME).contains(&plain(text(record, "/data")));
            if !is_there {
                zone.add(text(record, "/name"), text(record, "/data"));
            }
        }
        if let Some(fields) = change.pointer("/delete/id_fields") {
            let data = plain(text(fields, "/data"));
            let kept = zone.values(NAME);
            zone.set(kept.iter().filter(|value| **value != data).map(String::as_str));
        }
    }
    Some(json!({"records": []}))
}
