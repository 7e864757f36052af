//! REST, metrics and readiness over sessions.
