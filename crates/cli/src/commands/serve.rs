//! `boxherd serve`: where the server is put together.

use std::sync::Arc;

use boxherd_gateway_grpc::{Config, Web};
use boxherd_gateway_http::acme::{self, Acme};
use boxherd_gateway_http::listen::{self, Bound, Place};
use boxherd_gateway_http::{Tls, tls};
use boxherd_gateway_proxy as proxy;
use boxherd_herd::{HerdError, Secret};
use futures_util::FutureExt as _;

use crate::app::App;
use crate::args::ServeArgs;
use crate::env;
use crate::failure::Failure;
use crate::signals::Signals;
use crate::streams;
use crate::telemetry;

/// The key that the first administrator is given.
const BOOTSTRAP_KEY: &str = "BOXHERD_BOOTSTRAP_KEY";
/// Where the gRPC API is.
const GRPC: &str = "/boxd.api.v1.BoxdApi/{*method}";

/// Serves until it is told to end.
pub(super) async fn serve(app: &App, args: ServeArgs) -> Result<(), Failure> {
    let mut signals =
        Signals::take().map_err(|error| Failure::io("cannot take signals", &error))?;
    refuse_plaintext(&args)?;
    // First: the certificate is kept in the data folder, which must be one of boxes by then.
    let herd = app.shared_herd().await?;
    let acme = args.acme.then(|| authority(app, &args)).transpose()?;
    let tls = certificate(app, &args)?;
    let tls = tls.map(|tls| acme.as_ref().map_or_else(|| Arc::clone(&tls), |acme| acme.tls(&tls)));
    let bound = bind_all(&args.listen, tls.as_ref()).await?;
    let web_bound = bind_all(&args.proxy_listen, tls.as_ref()).await?;
    let proofs_at = if args.acme { &args.acme_listen[..] } else { &[] };
    let proofs_bound = bind_all(proofs_at, None).await?;
    let given = env::text(BOOTSTRAP_KEY).map(Secret::new);
    let given_one = given.is_some();
    if let Some(made) = herd.bootstrap(given).await?
        && !given_one
    {
        let key = made.key.reveal();
        app.printer.text(&format!("API key of `admin`, shown this once: {key}\n"))?;
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    tell(app, "listening", scheme, &bound)?;
    tell(app, "boxes are reached", scheme, &web_bound)?;
    let zone = args.zone.to_ascii_lowercase();
    let web_port = web_bound.iter().find_map(port);
    let web = web_port.map(|port| Web { scheme, port });
    let proxy = proxy::Config { zone: zone.clone(), scheme };
    let proxy = telemetry::spanned(proxy::router((*herd).clone(), proxy));
    let scratch = app.data().to_owned();
    let config = Config { zone, web, host: "127.0.0.1".to_owned(), scratch };
    let grpc = boxherd_gateway_grpc::service((*herd).clone(), config);
    let router = boxherd_gateway_http::router((*herd).clone()).route_service(GRPC, grpc);
    let router = telemetry::spanned(router);
    let ended = async move {
        tokio::select! {
            _ = signals.ending() => {}
            () = input_ends(args.until_input_ends) => {}
        }
    }
    .shared();
    let api = listen::serve(bound, router, ended.clone());
    let certificates = async {
        let Some(acme) = acme else { return std::future::pending().await };
        let proofs = acme.router(web_port.unwrap_or(443));
        let domains = async || {
            let domains = herd.domains().await?;
            Ok::<_, HerdError>(domains.into_iter().map(|domain| domain.name).collect())
        };
        tokio::select! {
            () = listen::serve(proofs_bound, proofs, std::future::pending()) => {}
            () = acme.keep(domains) => {}
        }
    };
    let web = async {
        // Without a listener there is nothing to wait for.
        match web_bound.is_empty() {
            true => {}
            false => listen::serve(web_bound, proxy, ended).await,
        }
    };
    let forwards_at = args.forward_listen.as_ref().map(|range| range.address);
    args.forward_listen.into_iter().for_each(|range| herd.offer_ports(range));
    let forwards = async {
        match forwards_at {
            Some(address) => proxy::serve_forwards((*herd).clone(), address).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = forwards => Ok(()),
        () = certificates => Ok(()),
        ((), ()) = async { tokio::join!(api, web) } => Ok(()),
        () = herd.look_after_boxes() => Ok(()),
    }
}

/// Waits for the end of standard input; for ever, unless it was asked for.
async fn input_ends(asked: bool) {
    if !asked {
        return std::future::pending().await;
    }
    streams::input_ended().await;
}

async fn bind_all(places: &[Place], tls: Option<&Arc<Tls>>) -> Result<Vec<Bound>, Failure> {
    let mut bound = Vec::new();
    for place in places {
        bound.push(bind(place, tls.cloned()).await?);
    }
    Ok(bound)
}

fn tell(app: &App, what: &str, scheme: &str, bound: &[Bound]) -> Result<(), Failure> {
    for bound in bound {
        let place = bound.place().map_err(|error| Failure::io("cannot listen", &error))?;
        let place = match place.starts_with("unix:") {
            true => place,
            false => format!("{scheme}://{place}"),
        };
        app.printer.text(&format!("{what} on {place}\n"))?;
    }
    Ok(())
}

/// The port of a listener that has one.
fn port(bound: &Bound) -> Option<u16> {
    bound.place().ok()?.rsplit_once(':')?.1.parse().ok()
}

async fn bind(place: &Place, tls: Option<Arc<Tls>>) -> Result<Bound, Failure> {
    let what = || match place {
        Place::Tcp(address) => format!("cannot listen on `{address}`"),
        Place::Unix(path) => format!("cannot listen on `{}`", path.display()),
    };
    Bound::bind(place, tls).await.map_err(|error| Failure::io(what(), &error))
}

fn certificate(app: &App, args: &ServeArgs) -> Result<Option<Arc<Tls>>, Failure> {
    let failed = |error: tls::TlsError| Failure::of(&error, "tls", None);
    match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            tls::from_files(certificate, key).map(Some).map_err(failed)
        }
        _ if args.tls_dev || args.acme => {
            let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
            let zone = [args.zone.clone(), format!("*.{}", args.zone)];
            let names = [&names[..], &zone[..]].concat();
            tls::of_own_authority(&app.data().join("tls"), &names).map(Some).map_err(failed)
        }
        _ => Ok(None),
    }
}

fn authority(app: &App, args: &ServeArgs) -> Result<Acme, Failure> {
    let settings = acme::Settings {
        directory: args.acme_directory.clone(),
        contact: args.acme_contact.clone(),
        root: args.acme_root.clone(),
        folder: app.data().join("tls").join("acme"),
    };
    Acme::open(settings).map_err(|error| Failure::of(&error, "acme", None))
}

/// Keys and tokens are not sent in the clear over a network by mistake.
fn refuse_plaintext(args: &ServeArgs) -> Result<(), Failure> {
    let tls = args.tls_dev || args.tls_cert.is_some() || args.acme;
    let open = args.listen.iter().chain(&args.proxy_listen).find(|place| !place.is_local());
    match open {
        Some(Place::Tcp(address)) if !tls && !args.plaintext => {
            let message = format!("`{address}` can be reached by other machines, and without TLS");
            Err(Failure::new("plaintext", message).hint(
                "use `--tls-cert` and `--tls-key`, or `--tls-dev`, or insist with `--plaintext`",
            ))
        }
        _ => Ok(()),
    }
}
