//! Contract of deploy/monitoring/: one source of the rules, tests of each alert by the real
//! promtool, a runbook for each, and names that the operator has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::metrics::{exposed, scraped};

const RUNBOOK: &str = "https://ingress-acme.dev/docs/operations.md#";
const RULES: &str = include_str!("../../deploy/monitoring/rules.yaml");

/// Head of the object that the rules are wrapped in.
const PROMETHEUS_RULE: &str = "\
# Rules of ingress-acme for the Prometheus Operator, made from rules.yaml: edit that file.
#
#   UPDATE_MONITORING=1 cargo test --test contracts monitoring
#
# Where your Prometheus selects rules by a label (ruleSelector; with the chart kube-prometheus-stack release: NAME), add
# that label.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: ingress-acme
  namespace: ingress-acme
  labels:
    app.kubernetes.io/name: ingress-acme
    app.kubernetes.io/part-of: ingress-acme
spec:
";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring")
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

fn all<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn rules() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(RULES).unwrap();
    let rules = all(&rules, "groups").flat_map(|group| all(group, "rules"));
    rules.cloned().collect()
}

fn alerts() -> BTreeMap<String, Value> {
    let named = |rule: Value| Some((rule["alert"].as_str()?.to_owned(), rule));
    rules().into_iter().filter_map(named).collect()
}

#[test]
fn the_prometheus_rule_has_the_rules_of_the_plain_file() {
    let (_, groups) = RULES.split_once("\ngroups:").unwrap();
    let indented = |line: &str| if line.is_empty() { String::new() } else { format!("  {line}") };
    let groups: Vec<String> = format!("groups:{groups}").lines().map(indented).collect();
    let wrapped = format!("{PROMETHEUS_RULE}{}\n", groups.join("\n"));
    let file = folder().join("prometheusrule.yaml");
    if std::env::var_os("UPDATE_MONITORING").is_some() {
        return fs::write(&file, wrapped).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == wrapped,
        "prometheusrule.yaml is not that of rules.yaml; \
         UPDATE_MONITORING=1 cargo test --test contracts monitoring writes it anew"
    );
    let spec = yaml("prometheusrule.yaml")["spec"].clone();
    assert_eq!(spec, serde_saphyr::from_str::<Value>(RULES).unwrap());
}

#[test]
fn promtool_finds_the_rules_good_and_each_test_of_an_alert_passes() {
    for args in [&["check", "rules", "rules.yaml"][..], &["test", "rules", "rules.test.yaml"]] {
        let Ok(checked) = Command::new("promtool").args(args).current_dir(folder()).output() else {
            assert!(std::env::var_os("CI").is_none(), "promtool is not installed");
            return eprintln!("promtool is not installed: the rules are not tested");
        };
        let said = String::from_utf8_lossy(&checked.stdout);
        let errors = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{args:?}: {said}{errors}");
    }
}

/// The promtool test of an alert that does not fire, fires and clears, in this order.
#[test]
fn each_alert_has_a_test_in_which_it_fires_and_clears() {
    let tests = yaml("rules.test.yaml");
    let mut tested = BTreeSet::new();
    for test in all(&tests, "tests") {
        let mut seen: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
        for eval in all(test, "promql_expr_test") {
            let alert = text(&eval["expr"]).split('"').nth(1).unwrap();
            let fires = eval["exp_samples"][0]["value"].as_f64().unwrap() > 0.0;
            seen.entry(alert).or_default().push(fires);
        }
        let turns = |fires: &Vec<bool>| {
            let first = fires.iter().position(|fires| *fires)?;
            (first > 0 && !fires[fires.len() - 1]).then_some(())
        };
        tested
            .extend(seen.into_iter().filter(|(_, fires)| turns(fires).is_some()).map(|one| one.0));
    }
    let alerts = alerts();
    assert_eq!(tested, alerts.keys().map(String::as_str).collect());
}

/// A paragraph of the runbook: a command, its output, and how to go on.
#[test]
fn each_alert_leads_to_a_paragraph_that_begins_with_a_command_and_its_output() {
    let page = include_str!("../../docs/operations.md");
    let paragraphs: BTreeMap<&str, &str> =
        page.split("\n### ").filter_map(|part| part.split_once('\n')).collect();
    for (name, alert) in alerts() {
        let severity = text(&alert["labels"]["severity"]);
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        let annotations = &alert["annotations"];
        assert!(text(&annotations["summary"]).ends_with('.'), "{name}");
        assert!(text(&annotations["description"]).ends_with('.'), "{name}");
        let url = text(&annotations["runbook_url"]);
        assert_eq!(url, format!("{RUNBOOK}{}", name.to_lowercase()));
        let paragraph = paragraphs.get(name.as_str());
        let paragraph = paragraph.unwrap_or_else(|| panic!("operations.md does not name {name}"));
        let block = paragraph.trim_start().strip_prefix("```console\n$ ");
        let (block, advice) = block.and_then(|rest| rest.split_once("\n```\n")).expect(&name);
        assert!(block.lines().count() > 1, "{name}: the command without its output");
        assert!(!advice.trim().is_empty(), "{name}: no advice");
    }
    let named = page.split("\n### ").filter_map(|part| part.lines().next());
    let named: BTreeSet<&str> = named.filter(|name| name.starts_with("IngressAcme")).collect();
    assert_eq!(named, alerts().keys().map(String::as_str).collect(), "paragraphs without an alert");
}

/// Names of our metrics in an expression.
fn names(expression: &str) -> BTreeSet<String> {
    let is_outside = |c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c));
    let words = expression.split(is_outside).filter(|word| word.starts_with("ingress_acme"));
    words.map(str::to_owned).collect()
}

/// All queries of the dashboard.
fn queries(dashboard: &Value) -> Vec<String> {
    let targets = all(dashboard, "panels").flat_map(|panel| all(panel, "targets"));
    targets.map(|target| text(&target["expr"]).to_owned()).collect()
}

#[test]
fn rules_and_panels_name_only_metrics_that_the_operator_has() {
    let families = exposed(&scraped(), "# TYPE ");
    let families: BTreeSet<&str> =
        families.iter().filter_map(|line| line.split(' ').next()).collect();
    let rules = rules();
    let recorded: BTreeSet<&str> =
        rules.iter().filter_map(|rule| rule["record"].as_str()).collect();
    let dashboard = fs::read_to_string(folder().join("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let expressions = rules.iter().map(|rule| text(&rule["expr"]).to_owned());
    let of_the_process = "ingress_acme_process_resident_memory_peak_bytes";
    for expression in expressions.chain(queries(&dashboard)) {
        for name in names(&expression) {
            let ends = ["_total", "_bucket", "_info", ""];
            let family = ends.iter().filter_map(|end| name.strip_suffix(end));
            let is_known = family.clone().any(|family| families.contains(family));
            let is_known = is_known || recorded.contains(&*name) || name == of_the_process;
            assert!(is_known, "{name} in {expression}");
        }
    }
}

#[test]
fn the_dashboard_can_be_imported_anywhere() {
    let dashboard = fs::read_to_string(folder().join("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    assert_eq!(dashboard["id"], Value::Null);
    let variables: Vec<&str> =
        all(&dashboard["templating"], "list").map(|one| text(&one["name"])).collect();
    assert_eq!(variables, ["datasource", "job"]);
    let ids: BTreeSet<u64> =
        all(&dashboard, "panels").map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), all(&dashboard, "panels").count(), "each has an id of its own");
    for panel in all(&dashboard, "panels").filter(|panel| panel["type"] != "row") {
        let title = text(&panel["title"]);
        assert!(!text(&panel["description"]).is_empty(), "{title}");
        assert!(panel["targets"][0]["expr"].is_string(), "{title}");
        let sources = all(panel, "targets").chain([panel]).map(|one| &one["datasource"]["uid"]);
        sources.for_each(|uid| assert_eq!(uid, "${datasource}", "{title}"));
    }
}

/// Labels of `selector` that `labels` has otherwise or not at all.
fn missed<'a>(selector: &'a Value, labels: &Value) -> Vec<&'a String> {
    let selected = selector["matchLabels"].as_object().unwrap().iter();
    selected
        .filter(|(name, value)| labels[name.as_str()] != **value)
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn the_monitors_select_the_service_and_the_pods_of_install_yaml() {
    let install = crate::deploy::install();
    let of = |kind: &'static str| install.iter().filter(move |one| one["kind"] == kind);
    let monitor = yaml("servicemonitor.yaml");
    assert_eq!(monitor["kind"], "ServiceMonitor");
    let selects = |labels: &Value| missed(&monitor["spec"]["selector"], labels).is_empty();
    let services: Vec<&Value> =
        of("Service").filter(|one| selects(&one["metadata"]["labels"])).collect();
    let [service] = services[..] else { panic!("selects {services:?}") };
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!(endpoint["port"], service["spec"]["ports"][0]["name"]);
    let job = text(&monitor["spec"]["jobLabel"]);
    assert_eq!(service["metadata"]["labels"][job], "ingress-acme");

    let pods = &of("Deployment").next().unwrap()["spec"]["template"];
    let monitor = yaml("podmonitor.yaml");
    assert_eq!(monitor["kind"], "PodMonitor");
    let missed = missed(&monitor["spec"]["selector"], &pods["metadata"]["labels"]);
    assert!(missed.is_empty(), "{missed:?}");
    let scraped = &monitor["spec"]["podMetricsEndpoints"][0];
    let ports = all(&pods["spec"]["containers"][0], "ports").map(|port| &port["name"]);
    assert!(ports.into_iter().any(|name| *name == scraped["port"]));
    assert_eq!(text(&monitor["spec"]["jobLabel"]), job);
    for endpoint in [endpoint, scraped] {
        assert_eq!(
            (&endpoint["path"], &endpoint["honorLabels"]),
            (&"/metrics".into(), &true.into())
        );
    }
    for name in ["servicemonitor.yaml", "podmonitor.yaml", "prometheusrule.yaml"] {
        let object = yaml(name);
        assert_eq!(object["apiVersion"], "monitoring.coreos.com/v1", "{name}");
        assert_eq!(object["metadata"]["namespace"], "ingress-acme", "{name}");
    }
}
