//! DNS provider with lego's `httpreq` protocol: a POST of the name and the value of a TXT record to
//! `/present` or `/cleanup`.

use std::net::{Ipv4Addr, SocketAddr};

use actix_web::web::{self, Json, ServiceConfig};
use actix_web::{HttpResponse, Responder};
use serde::Deserialize;

use super::Zone;
use crate::SimError;
use crate::serving::Serving;

/// A running provider. Dropping the value stops the server.
#[derive(Debug)]
pub struct Provider(Serving);

/// Body of a request.
#[derive(Deserialize)]
struct Record {
    fqdn: String,
    value: String,
}

impl Provider {
    /// Starts a provider on a free port of loopback that writes into `zone`.
    pub fn start(zone: &Zone) -> Result<Self, SimError> {
        let (zone, anywhere) = (zone.clone(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let configure = move |config: &mut ServiceConfig| {
            config
                .app_data(web::Data::new(zone.clone()))
                .route("/present", web::post().to(present))
                .route("/cleanup", web::post().to(cleanup));
        };
        Serving::start("DNS provider", anywhere, None, configure, || async {}).map(Self)
    }

    /// URL before `/present` and `/cleanup`.
    pub fn url(&self) -> String {
        format!("http://{}", self.0.address())
    }
}

async fn present(zone: web::Data<Zone>, Json(record): Json<Record>) -> impl Responder {
    zone.add_txt(&record.fqdn, &record.value);
    HttpResponse::Ok()
}

async fn cleanup(zone: web::Data<Zone>, Json(record): Json<Record>) -> impl Responder {
    zone.remove_txt(&record.fqdn, &record.value);
    HttpResponse::Ok()
}

#[cfg(test)]
mod tests {
    use super::super::Writes;
    use super::*;

    #[tokio::test]
    async fn records_are_added_and_removed_by_name_and_value() {
        crate::pki::choose_provider();
        let zone = Zone::default();
        let provider = Provider::start(&zone).unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let post = async |path: &str, value: &str| {
            let body =
                serde_json::json!({ "fqdn": "_acme-challenge.example.com.", "value": value });
            let request = http.post(format!("{}/{path}", provider.url()));
            let request = request.header("content-type", "application/json");
            request.body(body.to_string()).send().await.unwrap().status()
        };
        for value in ["one", "two"] {
            assert_eq!(post("present", value).await, 200);
        }
        assert_eq!(post("cleanup", "one").await, 200);
        assert_eq!(zone.txt("_acme-challenge.example.com").unwrap(), ["two"]);
        assert_eq!(zone.writes(), Writes { added: 2, removed: 1 });
        assert_eq!(post("else", "one").await, 404);
    }
}
