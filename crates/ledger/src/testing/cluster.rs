//! A cluster of three masters, with or without replicas.

use redis::Value;

use super::{RedisServer, ServerSetup, wait_for};

/// How many slots a cluster has.
const SLOTS: u16 = 16_384;

/// Three masters, each with a third of the slots, and maybe a replica each. Ends when dropped.
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
        Self::masters(setup, 2000)
    }

    /// Six nodes: three masters, and behind them their replicas in the same order. A node that is silent for
    /// `node_timeout_ms` counts as gone.
    pub fn start_replicated(node_timeout_ms: u32) -> Self {
        Self::start_replicated_as(&RedisServer::setup(), node_timeout_ms)
    }

    /// As [`Self::start_replicated`], each node set up so.
    pub fn start_replicated_as(setup: &ServerSetup, node_timeout_ms: u32) -> Self {
        let mut this = Self::masters(setup, node_timeout_ms);
        let replicas = nodes(setup, node_timeout_ms);
        for replica in &replicas {
            for master in &this.nodes {
                replica.command(&["CLUSTER", "MEET", "127.0.0.1", &master.port().to_string()]);
            }
        }
        for (replica, master) in replicas.iter().zip(&this.nodes) {
            let id = this.id(master);
            wait_for("a replica that knows its master", || {
                replica.try_command(&["CLUSTER", "REPLICATE", &id])
            });
        }
        this.nodes.extend(replicas);
        for node in &this.nodes {
            wait_for("a whole cluster", || whole(node, this.nodes.len()));
        }
        for replica in this.nodes.iter().skip(3) {
            wait_for("a copy", || match replica.try_command(&["INFO", "replication"]) {
                Ok(Value::BulkString(info))
                    if String::from_utf8_lossy(&info).contains("master_link_status:up") =>
                {
                    Ok(())
                }
                other => Err(other),
            });
        }
        this
    }

    fn masters(setup: &ServerSetup, node_timeout_ms: u32) -> Self {
        let nodes = nodes(setup, node_timeout_ms);
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
            wait_for("a whole cluster", || whole(node, nodes.len()));
        }
        Self { nodes }
    }

    /// What a node is called in the cluster.
    pub fn id(&self, node: &RedisServer) -> String {
        match node.command(&["CLUSTER", "MYID"]) {
            Value::BulkString(id) => String::from_utf8(id).expect("hexadecimal digits"),
            other => panic!("a node without a name: {other:?}"),
        }
    }

    /// The slot of a key.
    pub fn slot(&self, key: &str) -> u16 {
        let node = self.nodes.first().expect("three nodes");
        match node.command(&["CLUSTER", "KEYSLOT", key]) {
            Value::Int(slot) => u16::try_from(slot).expect("below 16,384"),
            other => panic!("no slot: {other:?}"),
        }
    }

    /// Which of the first three nodes has this slot, as long as no other one was made master or given it.
    pub fn first_master_of(&self, slot: u16) -> usize {
        usize::from(slot / (SLOTS / 3 + 1))
    }

    /// Moves a slot with all its keys from one of the first three nodes to another, as `redis-cli --cluster reshard` does,
    /// while others may use it.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let (slot, nodes) = (slot.to_string(), &self.nodes);
        let (from_id, to_id, port) =
            (self.id(&nodes[from]), self.id(&nodes[to]), nodes[to].port().to_string());
        nodes[to].command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        nodes[from].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        wait_for("the slot to be empty", || {
            let keys = match nodes[from].command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]) {
                Value::Array(keys) if keys.is_empty() => return Ok(()),
                Value::Array(keys) => keys,
                other => panic!("no keys: {other:?}"),
            };
            let keys: Vec<String> =
                keys.into_iter().map(|key| redis::from_redis_value(key).expect("a name")).collect();
            let fixed = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            let words: Vec<_> = fixed.into_iter().chain(keys.iter().map(String::as_str)).collect();
            // A key may have expired meanwhile.
            nodes[from].command(&words);
            Err(keys)
        });
        let owner = ["CLUSTER", "SETSLOT", &slot, "NODE", &to_id];
        nodes[to].command(&owner);
        nodes[from].command(&owner);
        for node in nodes.iter().filter(|node| node.is_master()) {
            node.command(&owner);
        }
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

/// Three nodes that know nobody.
fn nodes(setup: &ServerSetup, node_timeout_ms: u32) -> Vec<RedisServer> {
    let cluster = format!(
        "--cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout {node_timeout_ms}"
    );
    (0..3).map(|_| setup.clone().args(&cluster).start()).collect()
}

/// Whether a node says that all slots are served, and knows so many nodes.
fn whole(node: &RedisServer, count: usize) -> Result<(), String> {
    match node.try_command(&["CLUSTER", "INFO"]) {
        Ok(Value::BulkString(info)) => {
            let info = String::from_utf8_lossy(&info);
            let known = format!("cluster_known_nodes:{count}\r");
            let whole = info.contains("cluster_state:ok") && info.contains(&known);
            if whole { Ok(()) } else { Err(info.into_owned()) }
        }
        other => Err(format!("{other:?}")),
    }
}
