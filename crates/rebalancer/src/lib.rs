//! Sees imbalance and hot shards, chooses moves, knows each migration's phases, keeps the budget. Values only.

pub mod balance;
pub mod budget;
pub mod migration;
pub mod throttle;
