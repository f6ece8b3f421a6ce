//! Networks with real namespaces, real packets and a real firewall.

mod firewall;
mod leases;
mod names;
mod support;
