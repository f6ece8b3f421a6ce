//! What is said when there is no answer from a box: a short page.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Response, header};

use crate::refusal::Refusal;

/// A page that tells why, for people where a browser asks, else as plain text.
pub(crate) fn answer(refusal: &Refusal, method: &Method, asked: &HeaderMap) -> Response<Body> {
    let status = refusal.status();
    let text = refusal.text();
    let (kind, page) = match wants_html(asked) {
        true => ("text/html; charset=utf-8", html(&status.to_string(), &text)),
        false => ("text/plain; charset=utf-8", format!("{text}\n")),
    };
    let body = match *method {
        Method::HEAD => Body::empty(),
        _ => Body::from(page),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-boxherd-proxy", HeaderValue::from_static("refused"));
    if matches!(refusal, Refusal::NoToken) {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn wants_html(asked: &HeaderMap) -> bool {
    let accept = asked.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

fn html(title: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!doctype html><meta charset=utf-8><title>{title}</title>\
         <style>body{{font:1.1em sans-serif;margin:15vh auto;max-width:36em;padding:0 1em}}</style>\
         <h1>{title}</h1><p>{text}.</p>\n"
    )
}
