//! Mistakes that the simulation plants, to see that it would see them. In the product none is ever made.

/// Whether the simulation has this mistake made here.
#[cfg(test)]
macro_rules! mistaken {
    ($mistake:ident) => {
        crate::simulation::is_planted(crate::simulation::Mistake::$mistake)
    };
}

/// Never.
#[cfg(not(test))]
macro_rules! mistaken {
    ($mistake:ident) => {
        false
    };
}

pub(crate) use mistaken;
