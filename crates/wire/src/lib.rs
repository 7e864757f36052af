//! The PostgreSQL protocol in front of sessions.
