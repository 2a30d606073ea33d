//! The controllers: how each is started, and the settings that users give it.

use std::fs;

use ingress_acme_control_plane::{Controller, Part, World};

use crate::sites::Site;

/// A controller, as a user has set it up.
pub(crate) struct Kind {
    /// Name in the output.
    pub(crate) name: &'static str,
    /// Name of the class.
    pub(crate) class: &'static str,
    /// `spec.controller` of the class.
    pub(crate) class_controller: &'static str,
    /// Status of every plain HTTP request, where the controller redirects all to HTTPS.
    redirects: Option<u16>,
    /// Flags of the operator for this controller.
    pub(crate) operator: &'static [&'static str],
    /// Annotation that every Ingress of a user has.
    pub(crate) annotation: Option<(&'static str, &'static str)>,
    /// Sites with the user's own paths, rewrites, authentication, redirects and allow-lists.
    pub(crate) own: fn() -> Vec<Site>,
    program: Program,
}

enum Program {
    Contour,
    Traefik { flags: &'static [&'static str] },
}

/// Contour with Envoy. An Ingress knows no rewrites, authentication and allow-lists there.
pub(crate) const CONTOUR: Kind = Kind {
    name: "Contour 1.33.8 with Envoy 1.40.0",
    class: "contour",
    class_controller: "projectcontour.io/ingress-controller",
    redirects: None,
    operator: &[],
    annotation: None,
    own: contours_own,
    program: Program::Contour,
};

/// Traefik with the flags of its Helm chart and of k3s.
pub(crate) const TRAEFIK: Kind = Kind {
    name: "Traefik 3.7.13",
    class: "traefik",
    class_controller: "traefik.io/ingress-controller",
    redirects: None,
    operator: &[],
    annotation: None,
    own: traefiks_own,
    program: Program::Traefik { flags: &[TLS] },
};

/// The same, with all of port 80 redirected to port 443.
pub(crate) const TRAEFIK_WITH_REDIRECT: Kind = Kind {
    name: "Traefik 3.7.13, port 80 redirected",
    redirects: Some(301),
    program: Program::Traefik {
        flags: &[
            TLS,
            "--entryPoints.web.http.redirections.entryPoint.to=websecure",
            "--entryPoints.web.http.redirections.entryPoint.scheme=https",
        ],
    },
    ..TRAEFIK
};

/// The same, where port 443 has TLS only for the routers that ask for it. The challenge is
/// redirected there, so the solver Ingress has to ask for it as the users' Ingresses do.
pub(crate) const TRAEFIK_WITH_REDIRECT_AND_NO_TLS: Kind = Kind {
    name: "Traefik 3.7.13, port 80 redirected, no TLS by default",
    operator: &["--solver-annotation=*:traefik.ingress.kubernetes.io/router.tls=true"],
    annotation: Some(("traefik.ingress.kubernetes.io/router.tls", "true")),
    own: Vec::new,
    program: Program::Traefik {
        flags: &[
            "--entryPoints.web.http.redirections.entryPoint.to=websecure",
            "--entryPoints.web.http.redirections.entryPoint.scheme=https",
        ],
    },
    ..TRAEFIK_WITH_REDIRECT
};

/// TLS for all routers of port 443, as the Helm chart has it.
const TLS: &str = "--entryPoints.websecure.http.tls=true";

/// Middlewares that Traefik reads from a file; Ingresses name them.
const MIDDLEWARES: &str = r#"
[http.middlewares.password.basicAuth]
users = ["user:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="]
[http.middlewares.https.redirectScheme]
scheme = "https"
[http.middlewares.rewrite.replacePathRegex]
regex = "^/(.*)"
replacement = "/rewritten/$1"
[http.middlewares.elsewhere.ipAllowList]
sourceRange = ["192.0.2.0/24"]
"#;

impl Kind {
    /// Status of every plain HTTP request to a site.
    pub(crate) fn http(&self, site: &Site) -> u16 {
        self.redirects.unwrap_or(site.http)
    }

    /// Servers that the tests build.
    pub(crate) fn part(&self) -> Part {
        match self.program {
            Program::Contour => Part::Contour,
            Program::Traefik { .. } => Part::Traefik,
        }
    }

    /// Starts the controller.
    pub(crate) async fn start(&self, world: &World) -> Controller {
        let started = match self.program {
            Program::Contour => world.start_contour().await,
            Program::Traefik { flags } => {
                let middlewares = world.directory().join("middlewares.toml");
                fs::write(&middlewares, MIDDLEWARES).unwrap();
                let mut args = vec![format!("--providers.file.filename={}", middlewares.display())];
                args.extend(flags.iter().map(|flag| (*flag).to_owned()));
                world.start_traefik(&args).await
            }
        };
        started.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

fn contours_own() -> Vec<Site> {
    let site = |name| Site::new("team-0", name);
    vec![
        site("own-paths").path("/.well-known"),
        site("redirect").annotation("ingress.kubernetes.io/force-ssl-redirect", "true").http(301),
        site("tls-1-3").annotation("projectcontour.io/tls-minimum-protocol-version", "1.3"),
        site("timeout").annotation("projectcontour.io/response-timeout", "1s"),
    ]
}

fn traefiks_own() -> Vec<Site> {
    let site = |name| Site::new("team-0", name);
    let with = |name, middleware: &str| {
        let middlewares = "traefik.ingress.kubernetes.io/router.middlewares";
        site(name).annotation(middlewares, &format!("{middleware}@file"))
    };
    let router = |name, setting: &str, value| {
        site(name).annotation(&format!("traefik.ingress.kubernetes.io/router.{setting}"), value)
    };
    vec![
        site("own-paths").path("/.well-known"),
        with("password", "password").http(401).https(401),
        with("redirect", "https").http(302),
        with("rewrite", "rewrite"),
        with("allow-list", "elsewhere").http(403).https(403),
        router("priority", "priority", "1000000"),
        router("websecure", "entrypoints", "websecure").http(404),
        site("wildcard").wildcard(),
        site("hostless").hostless(),
    ]
}
