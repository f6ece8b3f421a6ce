//! One request: whose it is, to the box, and the answer back.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use boxherd_herd::{Audited, Host, InUse, Port, Route, Source};
use boxherd_link::{Link, LinkError};
use boxherd_model::{Address, Target};
use hyper::body::{Body as _, Incoming};

use crate::answer::answer;
use crate::body::Answer;
use crate::headers::{self, Seen};
use crate::patience::Patience;
use crate::pool::{Connection, Place, connect};
use crate::refusal::Refusal;
use crate::way::{Dialled, Way};
use crate::{Proxy, grpc, upgrade, visits, websocket};

/// Passes a request on, and its answer back.
pub(crate) async fn forward(
    State(proxy): State<Arc<Proxy>>,
    request: Request<Body>,
) -> Response<Body> {
    let (method, accept) =
        (request.method().clone(), request.headers().get(header::ACCEPT).cloned());
    match proxy.forward(request).await {
        Ok(response) => response,
        Err(refusal) => {
            tracing::debug!(text = refusal.text(), cause = refusal.cause(), "no answer from a box");
            let asked = accept.map(|accept| (header::ACCEPT, accept)).into_iter().collect();
            answer(&refusal, &method, &asked)
        }
    }
}

impl Proxy {
    async fn forward(&self, mut request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let websocket = websocket::ask(&mut request)?;
        let called = called(&request)?;
        let text = called.to_str().map_err(|_| Refusal::NoSuchName)?;
        let host = Host::parse(text, &self.config.zone).ok_or(Refusal::NoSuchName)?;
        let route = self.routes.find(&self.herd, &host).await?;
        self.admit(&route, &mut request).await?;
        let source = request.extensions().get::<Source>().map(ToString::to_string);
        let seen = Seen {
            source: source.as_deref().unwrap_or_default(),
            scheme: self.config.scheme,
            host: &called,
        };
        let call = grpc::is_call(&request);
        let wanted = prepare(&mut request, seen);
        let outside = wanted.is_some().then(|| hyper::upgrade::on(&mut request));
        let awake = self.herd.in_use(route.of);
        let link = self.visits.link(&self.herd, route.of).await?;
        let patience = Patience::new();
        let request = request.map(|body| patience.watch(body));
        let sent = async {
            tokio::select! {
                biased;
                sent = self.send_either(call, &route, &link, request) => sent,
                never = visits::keep_looking(&self.herd, route.of) => match never {},
            }
        };
        let (mut response, connection) = patience.with(sent).await?;
        match (outside, response.status()) {
            (Some(outside), StatusCode::SWITCHING_PROTOCOLS) => {
                let inside = hyper::upgrade::on(&mut response);
                let response = match websocket {
                    Some(asked) => asked.answer(response)?.map(|_| Body::empty()),
                    None => switched(response),
                };
                let end = self.ends.of(route.of, &link);
                tokio::spawn(upgrade::carry(outside, inside, end, awake));
                Ok(response)
            }
            (None, StatusCode::SWITCHING_PROTOCOLS) => {
                Err(Refusal::Malformed("the program in the box changes protocols unasked"))
            }
            _ => {
                let response = match websocket {
                    Some(asked) => asked.answer(response)?,
                    None => response,
                };
                Ok(self.answered(response, connection, awake))
            }
        }
    }

    /// Lets those with a token of somebody who sees the box through to what is private.
    async fn admit(&self, route: &Route, request: &mut Request<Body>) -> Result<(), Refusal> {
        if !route.private {
            return Ok(());
        }
        let token = headers::take_token(request.headers_mut()).ok_or(Refusal::NoToken)?;
        let source = request.extensions().get::<Source>().map(ToString::to_string);
        let audited = Audited {
            source: source.unwrap_or_default(),
            action: "proxy.visit",
            target: Some(route.of),
            detail: String::new(),
        };
        let herd = match self.herd.authenticate(&token).await {
            Ok(herd) => herd,
            Err(error) => {
                self.herd.audit(audited, error.code()).await;
                return Err(Refusal::NoToken);
            }
        };
        // What is another's is not there.
        let address = Address { engine: None, target: Target::Id(route.of) };
        if let Err(error) = herd.keep_awake(&address).await {
            herd.audit(audited, error.code()).await;
            return Err(error.into());
        }
        Ok(())
    }

    /// Calls of gRPC have connections of their own kind, which all share.
    async fn send_either(
        &self,
        call: bool,
        route: &Route,
        link: &Link,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, Option<Connection>), Refusal> {
        if call {
            return Ok((self.send_call(route, link, request).await?, None));
        }
        let (response, connection) = self.send(route, link, request).await?;
        Ok((response, Some(connection)))
    }

    async fn send_call(
        &self,
        route: &Route,
        link: &Link,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Refusal> {
        grpc::into_call(&mut request)?;
        let port = self.ports.find(route.of, route.port, link).await?;
        loop {
            let mut sender = match self.calls.kept((route.of, port)) {
                Some(sender) => sender,
                None => {
                    // Not by a short way: HTTP/2 has a task of its own, which would keep that after
                    // the box has ended.
                    let (place, dialled) = self.dial_over(route, link, port).await?;
                    self.calls.connect(place, dialled).await?
                }
            };
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                // It was closed just then, and nothing was sent: the next one is another.
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) if sender.is_closed() => request = unsent,
                    _ => return Err(Refusal::Closed(failed.into_error())),
                },
            }
        }
    }

    /// Sends over a connection that waits, or else over a new one.
    async fn send(
        &self,
        route: &Route,
        link: &Link,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, Connection), Refusal> {
        let port = self.ports.find(route.of, route.port, link).await?;
        while let Some(mut waiting) = self.pool.take((route.of, port)) {
            let again = repeatable(&request);
            match waiting.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, waiting)),
                // It was closed just then. What was not begun to be sent is sent again; and so is
                // what can do no harm if it comes twice.
                Err(mut failed) => match failed.take_message().or(again) {
                    Some(unsent) => request = unsent,
                    None => return Err(Refusal::Closed(failed.into_error())),
                },
            }
        }
        let (place, dialled) = self.dial(route, link, port).await?;
        let mut fresh = connect(place, dialled).await?;
        let response = fresh.sender.send_request(request).await.map_err(Refusal::Closed)?;
        Ok((response, fresh))
    }

    /// Dials a port, or the one that has taken its place where that is found out.
    async fn dial(
        &self,
        route: &Route,
        link: &Link,
        port: u16,
    ) -> Result<(Place, Dialled), Refusal> {
        match self.short_way(route, port).await? {
            Some(way) => {
                let end = self.ends.of(route.of, link);
                Ok(((route.of, port), Dialled { way, end }))
            }
            None => self.dial_over(route, link, port).await,
        }
    }

    /// The same over the link.
    async fn dial_over(
        &self,
        route: &Route,
        link: &Link,
        port: u16,
    ) -> Result<(Place, Dialled), Refusal> {
        let (port, stream) = match link.dial(port).await {
            Err(LinkError::Dial { .. }) if route.port == Port::Auto => {
                self.ports.forget(route.of);
                let port = self.ports.find(route.of, route.port, link).await?;
                (port, link.dial(port).await)
            }
            dialled => (port, dialled),
        };
        let way = Way::Link(stream.map_err(Refusal::Link)?);
        let end = self.ends.of(route.of, link);
        Ok(((route.of, port), Dialled { way, end }))
    }

    async fn short_way(&self, route: &Route, port: u16) -> Result<Option<Way>, Refusal> {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else { return Ok(None) };
        let stream = self.herd.dial(route.of, port).await?;
        Ok(stream.map(|stream| Way::Short(stream, place)))
    }

    fn answered(
        &self,
        response: Response<Incoming>,
        connection: Option<Connection>,
        awake: InUse,
    ) -> Response<Body> {
        let (mut head, body) = response.into_parts();
        headers::drop_hop_by_hop(&mut head.headers);
        head.version = Version::HTTP_11;
        let pool = Arc::clone(&self.pool);
        Response::from_parts(head, Body::new(Answer::new(body, connection, pool, awake)))
    }
}

/// The name that is called, as it was written: that of the request line comes before the header
/// (RFC 9112 §3.2.2).
fn called(request: &Request<Body>) -> Result<HeaderValue, Refusal> {
    if let Some(authority) = request.uri().authority() {
        let name = authority.as_str().rsplit('@').next().unwrap_or_default();
        return HeaderValue::from_str(name).map_err(|_| Refusal::NoSuchName);
    }
    let mut named = request.headers().get_all(header::HOST).iter();
    match (named.next(), named.next()) {
        (Some(host), None) => Ok(host.clone()),
        (None, _) => Err(Refusal::Malformed("the request names no host")),
        (Some(_), Some(_)) => Err(Refusal::Malformed("the request names two hosts")),
    }
}

/// Makes a request into one to the box, and says to which protocol it wants to change.
fn prepare(request: &mut Request<Body>, seen: Seen<'_>) -> Option<HeaderValue> {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    let wanted = match request.version() {
        // HTTP/2 has no such thing (RFC 9113 §8.6).
        Version::HTTP_2 => None,
        _ => headers::upgrade(request.headers()),
    };
    *request.version_mut() = Version::HTTP_11;
    join_cookies(request);
    headers::drop_hop_by_hop(request.headers_mut());
    headers::tell(request.headers_mut(), seen);
    if let Some(protocol) = &wanted {
        headers::put_upgrade(request.headers_mut(), protocol.clone());
    }
    wanted
}

/// HTTP/2 may send them apart, HTTP/1.1 must not (RFC 9113 §8.2.3).
fn join_cookies(request: &mut Request<Body>) {
    let cookies: Vec<_> = request.headers().get_all(header::COOKIE).iter().cloned().collect();
    if cookies.len() < 2 {
        return;
    }
    let joined: Vec<_> = cookies.iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&joined.join(&b"; "[..])) {
        request.headers_mut().insert(header::COOKIE, joined);
    }
}

/// A copy of a request that asks only, and has no body.
fn repeatable(request: &Request<Body>) -> Option<Request<Body>> {
    let asks = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !asks || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

fn switched(response: Response<Incoming>) -> Response<Body> {
    let (mut head, _) = response.into_parts();
    let protocol = headers::upgrade(&head.headers);
    headers::drop_hop_by_hop(&mut head.headers);
    if let Some(protocol) = protocol {
        headers::put_upgrade(&mut head.headers, protocol);
    }
    Response::from_parts(head, Body::empty())
}
