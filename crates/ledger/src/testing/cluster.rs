//! A cluster of three masters.

use redis::Value;

use super::{RedisServer, ServerSetup, wait_for};

/// How many slots a cluster has.
const SLOTS: u16 = 16_384;

/// Three masters, each with a third of the slots. Ends when dropped.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts the nodes, introduces them to each other, and waits until each says that the cluster is whole.
    pub fn start() -> Self {
        Self::start_as(&RedisServer::setup())
    }

    /// As [`Self::start`], each node set up so.
    pub fn start_as(setup: &ServerSetup) -> Self {
        let cluster = "--cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout 2000";
        let nodes: Vec<_> = (0..3).map(|_| setup.clone().args(cluster).start()).collect();
        let third = SLOTS / 3 + 1;
        for (place, node) in (0_u16..).zip(&nodes) {
            let slots = (place * third)..((place + 1) * third).min(SLOTS);
            let slots: Vec<_> = slots.map(|slot| slot.to_string()).collect();
            let words: Vec<_> =
                ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str)).collect();
            node.command(&words);
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(place + 1).to_string()]);
        }
        for (node, other) in nodes.iter().flat_map(|node| nodes.iter().map(move |other| (node, other))) {
            node.command(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string()]);
        }
        for node in &nodes {
            wait_for("a whole cluster", || match node.try_command(&["CLUSTER", "INFO"]) {
                Ok(Value::BulkString(info)) => {
                    let info = String::from_utf8_lossy(&info);
                    let whole = info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3");
                    if whole { Ok(()) } else { Err(info.into_owned()) }
                }
                other => Err(format!("{other:?}")),
            });
        }
        Self { nodes }
    }

    /// Its address: all nodes.
    pub fn url(&self) -> String {
        let (scheme, _) = self.nodes.first().map(RedisServer::url).and_then(split).expect("three nodes");
        let hosts: Vec<_> =
            self.nodes.iter().filter_map(|node| split(node.url())).map(|(_, rest)| rest).collect();
        // The login stands once, before the first host.
        let rest = hosts.iter().enumerate().map(|(place, host)| match place {
            0 => host.as_str(),
            _ => host.rsplit('@').next().unwrap_or_default(),
        });
        format!("{scheme}+cluster://{}", rest.collect::<Vec<_>>().join(","))
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Its nodes, to end or restart one.
    pub fn nodes_mut(&mut self) -> &mut [RedisServer] {
        &mut self.nodes
    }
}

fn split(url: String) -> Option<(String, String)> {
    url.split_once("://").map(|(scheme, rest)| (scheme.to_owned(), rest.to_owned()))
}
