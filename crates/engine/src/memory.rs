//! The memory of one query, as a part of all queries'.
//!
//! A query's operators share its part fairly, so that those that can spill do, and take from what all queries have
//! together at the same time: whichever is used up first refuses.

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use std::fmt;
use std::sync::Arc;

/// What the refusals of a query's own part begin with.
const MARK: &str = "query_memory_limit: ";

#[derive(Debug)]
struct QueryPool {
    own: FairSpillPool,
    shared: Arc<dyn MemoryPool>,
}

/// Where a query runs that may have so many bytes of what all have.
pub(crate) fn of_query(shared: &RuntimeEnv, bytes: usize) -> Arc<RuntimeEnv> {
    let pool = QueryPool { own: FairSpillPool::new(bytes), shared: Arc::clone(&shared.memory_pool) };
    Arc::new(RuntimeEnv { memory_pool: Arc::new(pool), ..shared.clone() })
}

/// Which setting refused, by what the refusal says.
pub(crate) fn refused_by(message: &str) -> &'static str {
    if message.contains(MARK) { "query_memory_limit" } else { "memory_limit" }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
        self.shared.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
        self.shared.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.shared.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.shared.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.own.try_grow(reservation, additional).map_err(|error| match error {
            DataFusionError::ResourcesExhausted(message) => {
                DataFusionError::ResourcesExhausted(format!("{MARK}{message}"))
            }
            other => other,
        })?;
        self.shared.try_grow(reservation, additional).inspect_err(|_| self.own.shrink(reservation, additional))
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.own, self.shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    #[test]
    fn both_are_asked_and_nothing_is_kept_of_a_refusal() {
        let shared: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(100));
        let pool = |bytes| -> Arc<dyn MemoryPool> {
            Arc::new(QueryPool { own: FairSpillPool::new(bytes), shared: Arc::clone(&shared) })
        };
        let (one, other) = (pool(60), pool(60));
        let (first, second) = (MemoryConsumer::new("one").register(&one), MemoryConsumer::new("two").register(&other));
        let refused = first.try_grow(61).unwrap_err().to_string();
        assert_eq!(refused_by(&refused), "query_memory_limit", "{refused}");
        assert_eq!((one.reserved(), shared.reserved()), (0, 0));
        first.try_grow(60).unwrap();
        let refused = second.try_grow(41).unwrap_err().to_string();
        assert_eq!(refused_by(&refused), "memory_limit", "{refused}");
        assert_eq!((other.reserved(), shared.reserved()), (0, 60));
        second.try_grow(40).unwrap();
        drop(first);
        assert_eq!((one.reserved(), shared.reserved()), (0, 40));
        second.try_grow(20).unwrap();
    }
}
