//! `plan`: what the operator would do for each Ingress, before it is installed or beside it, with
//! the user's own permissions. The rules are those of the operator, and nothing is written.

mod dns_accounts;
mod readable_secrets;
mod row;
mod summary;
mod survey;

use std::collections::BTreeSet;
use std::process::ExitCode;

use ingress_acme_actors::domain::cas::Source;
use ingress_acme_actors::domain::doctor::hosts::Served;
use ingress_acme_actors::domain::ingress::IngressKey;
use kube::Client;
use serde::Serialize;

use crate::commands::cli::{ListOutput, PlanArgs, ServingArgs};
use crate::commands::status::columns::Columns;
use crate::commands::status::print;
use crate::commands::status::snapshot::Place;
use row::Row;
use summary::Summary;
use survey::Survey;

/// All that is planned, with the fields of `-o json`.
#[derive(Debug, Serialize)]
struct Plan {
    ingresses: Vec<Row>,
    summary: Summary,
    /// Things that could not be read, and the assumption in their place.
    notes: Vec<String>,
}

/// Runs `plan`.
pub async fn show(args: PlanArgs) -> anyhow::Result<ExitCode> {
    let client = args.cluster.connect().await?;
    let place = Place::of(&args.scope, client.default_namespace());
    let serving = (&args.serving, &*args.own_namespace());
    let survey = Survey::take(&client, &place, serving, None).await?;
    let planned = survey.planned();
    let shown = match survey.cas.source {
        Source::Flags => survey.cas.first.directory.clone(),
        Source::File => survey.cas.all().map(|ca| &*ca.name).collect::<Vec<_>>().join(", "),
    };
    let summary = Summary::of(&planned, &shown);
    let ingresses = planned.into_iter().flat_map(|one| one.rows).collect();
    let plan = Plan { ingresses, summary, notes: survey.notes };
    if plan.ingresses.is_empty() && !matches!(args.output, ListOutput::Json | ListOutput::Yaml) {
        eprintln!("{}", place.nothing_found());
        return Ok(ExitCode::SUCCESS);
    }
    Ok(print(&match args.output {
        ListOutput::Table => plan.text(args.scope.all_namespaces, false),
        ListOutput::Wide => plan.text(args.scope.all_namespaces, true),
        ListOutput::Json => serde_json::to_string_pretty(&plan)?,
        ListOutput::Yaml => serde_saphyr::to_string(&plan)?.trim_end().to_owned(),
        ListOutput::Name => plan.names(),
    }))
}

/// Certificates of one Ingress by the flags of a running operator and the DNS accounts of its
/// namespace, and their names, for `doctor`.
pub(in crate::commands) async fn of_one(
    client: &Client,
    key: &IngressKey,
    serving: (&ServingArgs, &str),
) -> anyhow::Result<(Served, Vec<String>)> {
    let place = Place::within(&key.namespace);
    let survey = Survey::take(client, &place, serving, Some(key)).await?;
    let planned = survey.planned();
    let rows: Vec<Row> = planned.into_iter().flat_map(|one| one.rows).collect();
    let served = rows.iter().filter(|row| row.served != row::Served::No);
    let secrets = served.filter_map(|row| row.secret.clone()).collect();
    let reasons: BTreeSet<&String> = rows.iter().map(|row| &row.reason).collect();
    let reasons = reasons.into_iter().filter(|why| !why.is_empty()).cloned().collect();
    let names: BTreeSet<String> = rows.iter().flat_map(|row| row.names.clone()).collect();
    Ok((Served { secrets, reasons }, names.into_iter().collect()))
}

impl Plan {
    fn text(&self, all_namespaces: bool, wide: bool) -> String {
        let mut cells = vec![Row::header(all_namespaces, wide)];
        cells.extend(self.ingresses.iter().map(|row| row.cells(all_namespaces, wide)));
        let columns = Columns::of(&cells);
        let mut lines: Vec<String> = cells.iter().map(|row| columns.line(row)).collect();
        lines.extend([String::new(), self.summary.text()]);
        lines.extend(self.notes.iter().map(|note| format!("Note: {note}.")));
        lines.join("\n")
    }

    /// Names of the Ingresses as kubectl prints and takes them, each once.
    fn names(&self) -> String {
        let mut names: Vec<String> = self.ingresses.iter().map(Row::resource).collect();
        names.dedup();
        names.join("\n")
    }
}
