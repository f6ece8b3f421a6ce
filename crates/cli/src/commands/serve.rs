//! `boxherd serve`: where the server is put together.

use std::sync::Arc;

use boxherd_gateway_grpc::Config;
use boxherd_gateway_http::listen::{self, Bound, Place};
use boxherd_gateway_http::{Tls, tls};
use boxherd_herd::Secret;

use crate::app::App;
use crate::args::ServeArgs;
use crate::env;
use crate::failure::Failure;
use crate::signals::Signals;

/// The key that the first administrator is given.
const BOOTSTRAP_KEY: &str = "BOXHERD_BOOTSTRAP_KEY";
/// Where the gRPC API is.
const GRPC: &str = "/boxd.api.v1.BoxdApi/{*method}";

/// Serves until it is told to end.
pub(super) async fn serve(app: &App, args: ServeArgs) -> Result<(), Failure> {
    let mut signals =
        Signals::take().map_err(|error| Failure::io("cannot take signals", &error))?;
    let tls = certificate(app, &args)?;
    refuse_plaintext(&args, tls.is_some())?;
    let herd = app.shared_herd().await?;
    let mut bound = Vec::new();
    for place in &args.listen {
        bound.push(bind(place, tls.clone()).await?);
    }
    let given = env::text(BOOTSTRAP_KEY).map(Secret::new);
    let given_one = given.is_some();
    if let Some(made) = herd.bootstrap(given).await?
        && !given_one
    {
        let key = made.key.reveal();
        app.printer.text(&format!("API key of `admin`, shown this once: {key}\n"))?;
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    for bound in &bound {
        let place = bound.place().map_err(|error| Failure::io("cannot listen", &error))?;
        let place = match place.starts_with("unix:") {
            true => place,
            false => format!("{scheme}://{place}"),
        };
        app.printer.text(&format!("listening on {place}\n"))?;
    }
    let config = Config { zone: args.zone, web: None, host: "127.0.0.1".to_owned() };
    let grpc = boxherd_gateway_grpc::service((*herd).clone(), config);
    let router = boxherd_gateway_http::router((*herd).clone()).route_service(GRPC, grpc);
    let ended = async move {
        signals.ending().await;
    };
    tokio::select! {
        () = listen::serve(bound, router, ended) => Ok(()),
        () = herd.look_after_boxes() => Ok(()),
    }
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
        _ if args.tls_dev => {
            let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
            let zone = [args.zone.clone(), format!("*.{}", args.zone)];
            let names = [&names[..], &zone[..]].concat();
            tls::of_own_authority(&app.data().join("tls"), &names).map(Some).map_err(failed)
        }
        _ => Ok(None),
    }
}

/// Keys and tokens are not sent in the clear over a network by mistake.
fn refuse_plaintext(args: &ServeArgs, tls: bool) -> Result<(), Failure> {
    let open = args.listen.iter().find(|place| !place.is_local());
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
