use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "nodes",
    /// One row a node: a process that hosts shards. An embedded database is one node.
    struct Row {
        /// The node's number.
        node_id: i64,
        /// Where it is reached; `embedded` inside the process that asks.
        address: String,
        /// The part of the installation that fails together with it; NULL where none was given.
        zone: Option<String>,
        /// How much it is meant to carry, compared with the others.
        weight: f64,
        /// `up`: it serves its shards.
        state: String,
        /// Shards that it hosts.
        shards: i64,
        /// Slots that they own.
        slots: i64,
        /// Live rows of all tables, counted exactly.
        rows: i64,
        /// Bytes of their files, logs and replaced versions included.
        storage_bytes: i64,
        /// When it was last heard of; NULL for the node that answers.
        last_heartbeat: Option<Instant>,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |node: &crate::snapshot::Node| Row {
        node_id: i64::from(node.id),
        address: node.address.clone(),
        zone: node.zone.clone(),
        weight: node.weight,
        state: node.state.to_string(),
        shards: node.shards as i64,
        slots: node.slots as i64,
        rows: node.rows,
        storage_bytes: node.storage_bytes as i64,
        last_heartbeat: node.last_heartbeat_ms.map(Instant::from_millis),
    };
    snapshot.nodes.iter().map(row).collect()
}
