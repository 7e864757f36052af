//! A database of this process, as the shell reaches it: by PostgreSQL's protocol, without a network.

use std::sync::Arc;

use evenkeel_engine::Database;
use evenkeel_model::Result;
use evenkeel_shell::remote::{Remote, Target};
use evenkeel_wire::InProcess;

/// A server within the process.
pub struct Embedded(Arc<InProcess>);

impl Embedded {
    /// Begins to serve a database.
    pub fn new(database: &Arc<Database>) -> Self {
        Self(Arc::new(InProcess::new(database)))
    }

    /// A session that may do everything; `application` is what SYSTEM.SESSIONS calls it.
    ///
    /// # Errors
    /// None that a server in the same process is known to answer with.
    pub async fn connect(&self, application: &str) -> Result<Remote> {
        let server = Arc::clone(&self.0);
        let target =
            Target::Process { user: InProcess::USER.to_string(), dial: Box::new(move || Box::new(server.connect())) };
        Remote::connect(target, application).await
    }

    /// Ends every session.
    pub async fn end(&self) {
        self.0.end().await;
    }
}
