//! Browsers and boxes: `boxherd serve --proxy-listen` in front of programs in real boxes.
//!
//! Clients are written out byte by byte, so that nothing between the test and the proxy is helpful.

mod calls;
mod client;
mod forwards;
mod refusals;
mod routing;
mod server;
mod short_way;
mod streams;
mod users;

#[allow(dead_code, reason = "not every target needs all of it")]
#[path = "../common/lab.rs"]
mod lab;
#[path = "../it/wait.rs"]
mod wait;
