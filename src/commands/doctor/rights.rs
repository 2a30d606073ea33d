//! Rights of the operator's `ServiceAccount`, as the API server's authorizer answers about them.

use futures_util::{StreamExt, TryStreamExt, stream};
use ingress_acme_actors::domain::doctor::Fact;
use ingress_acme_actors::domain::doctor::rights::{Right, Rights, rights_needed};
use ingress_acme_actors::domain::limits;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::Api;
use kube::api::PostParams;

use super::cluster::Cluster;
use super::deployment::Setup;

/// Asks for each right of `deploy/install.yaml`: about the `ServiceAccount`, or about the user where
/// that is the `ServiceAccount`, as in the operator's own pod. Reviews are answered and not stored.
pub(super) async fn ask(cluster: &Cluster, setup: &Setup) -> Fact<Rights> {
    let (own, flags) = (&cluster.own, &setup.flags);
    let of = format!("system:serviceaccount:{own}:{}", setup.account);
    let is_itself = user(cluster).await.is_ok_and(|user| user == of);
    let all = rights_needed(own, &flags.serving.watched(), flags.watch_secrets);
    let asked = all.len();
    let about = if is_itself { None } else { Some(of.as_str()) };
    let answers = stream::iter(all).map(async |right| {
        let is_there = is_allowed(cluster, about, &right).await?;
        Fact::Ok((right, is_there))
    });
    let answers = answers.buffered(limits::DOCTOR_AT_ONCE).try_collect::<Vec<_>>().await;
    let answers = answers.map_err(|why| {
        format!(
            "the rights of {of} may not be asked for by you: {why} (`kubectl -n {own} exec deploy/ingress-acme -- \
             /ingress-acme doctor` asks as the operator)"
        )
    })?;
    let missing = answers.into_iter().filter(|(_, is_there)| !is_there).map(|(right, _)| right);
    Ok(Rights { of, asked, missing: missing.collect() })
}

/// Name of the user that the API server knows us by.
async fn user(cluster: &Cluster) -> Fact<String> {
    let api: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    let review = SelfSubjectReview::default();
    let found = cluster.ask(api.create(&PostParams::default(), &review)).await?;
    let info = found.status.and_then(|status| status.user_info);
    info.and_then(|info| info.username).ok_or_else(|| "no name".to_owned())
}

/// Asks about a `ServiceAccount`, or about the user.
async fn is_allowed(cluster: &Cluster, about: Option<&str>, right: &Right) -> Fact<bool> {
    let attributes = ResourceAttributes {
        group: Some(right.group.to_owned()),
        resource: Some(right.resource.to_owned()),
        verb: Some(right.verb.to_owned()),
        namespace: right.namespace.clone(),
        ..ResourceAttributes::default()
    };
    let resource_attributes = Some(attributes);
    let status: Option<SubjectAccessReviewStatus> = match about {
        None => {
            let spec = SelfSubjectAccessReviewSpec { resource_attributes, ..Default::default() };
            let review = SelfSubjectAccessReview { spec, ..Default::default() };
            let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
            cluster.ask(api.create(&PostParams::default(), &review)).await?.status
        }
        Some(account) => {
            let (user, groups) = (Some(account.to_owned()), Some(groups(&cluster.own)));
            let spec =
                SubjectAccessReviewSpec { user, groups, resource_attributes, ..Default::default() };
            let review = SubjectAccessReview { spec, ..Default::default() };
            let api: Api<SubjectAccessReview> = Api::all(cluster.client.clone());
            cluster.ask(api.create(&PostParams::default(), &review)).await?.status
        }
    };
    status.map(|status| status.allowed).ok_or_else(|| "no answer".to_owned())
}

/// Groups of every `ServiceAccount` of a namespace.
fn groups(namespace: &str) -> Vec<String> {
    let own = format!("system:serviceaccounts:{namespace}");
    vec!["system:serviceaccounts".to_owned(), own, "system:authenticated".to_owned()]
}
