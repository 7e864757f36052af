//! Who asks: passwords once, tokens after that, and how both end.

use crate::ground::{Ground, PASSWORD, get, post, request};
use evenkeel_http::{Authentication, Options, Server};
use evenkeel_tests::{Temporary, run};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_password_gives_a_token() {
    let ground = Ground::with_users().await;
    for refused in
        [post("/api/v1/tokens").password("admins", "wrong"), post("/api/v1/tokens").password("nobody", PASSWORD)]
    {
        let reply = ground.ask(refused).await;
        assert_eq!((reply.status, reply.sqlstate().as_str()), (401, "28P01"));
        assert!(reply.headers["www-authenticate"].starts_with("Basic"));
    }
    let reply = ground.ask(post("/api/v1/tokens")).await;
    assert_eq!((reply.status, reply.sqlstate().as_str()), (401, "28000"));
    let reply = ground.ask(post("/api/v1/tokens").password("admins", PASSWORD)).await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.headers["cache-control"], "no-store");
    assert_eq!(reply.json()["expires_in"], evenkeel_http::TOKEN_LIFETIME.as_secs());
    let token = reply.json()["token"].as_str().expect("a token").to_string();
    let who = post("/api/v1/pql").json(&json!({ "statement": "SELECT current_user" }));
    assert_eq!(ground.ask(who.clone().token(&token)).await.json()["rows"], json!([["admins"]]));
    // Where and as what the session is.
    let sessions =
        json!({ "statement": "SELECT user_name, application FROM SYSTEM.SESSIONS WHERE client_address IS NOT NULL" });
    let seen = ground.ask(post("/api/v1/pql").json(&sessions).token(&token).header("user-agent", "curl/8")).await;
    assert_eq!(seen.json()["rows"][0][0], "admins", "{}", seen.text());
    assert_eq!(seen.json()["rows"][0][1], "curl/8", "{}", seen.text());
    for wrong in ["", "x", &token[1..]] {
        let reply = ground.ask(who.clone().token(wrong)).await;
        assert_eq!((reply.status, reply.sqlstate().as_str()), (401, "28000"), "{wrong}");
        assert!(reply.headers["www-authenticate"].starts_with("Bearer"));
    }
    // A password is for tokens alone.
    assert_eq!(ground.ask(who.clone().password("admins", PASSWORD)).await.status, 401);
    assert_eq!(ground.ask(request("DELETE", "/api/v1/tokens").token(&token)).await.status, 204);
    assert_eq!(ground.ask(who.token(&token)).await.status, 401);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end_with_their_user_and_password() {
    let ground = Ground::with_users().await;
    let session = ground.database.session();
    let who = |token: &str| post("/api/v1/pql").json(&json!({ "statement": "SELECT current_user" })).token(token);
    let old = ground.token("plains").await;
    assert_eq!(ground.ask(who(&old)).await.status, 200);
    run(&session, "ALTER USER plains PASSWORD 'another secret'").await.expect("another password");
    assert_eq!(ground.ask(who(&old)).await.sqlstate(), "28000");
    run(&session, &format!("ALTER USER plains PASSWORD '{PASSWORD}'")).await.expect("the first password");
    let token = ground.token("plains").await;
    assert_eq!(ground.ask(who(&old)).await.sqlstate(), "28000", "also when the old password comes back");
    run(&session, "DROP USER plains").await.expect("dropped");
    run(&session, &format!("CREATE USER plains PASSWORD '{PASSWORD}'")).await.expect("another of that name");
    assert_eq!(ground.ask(who(&token)).await.sqlstate(), "28000");
    // A role that changes is another one with the next call.
    let token = ground.token("plains").await;
    assert_eq!(ground.ask(get("/api/v1/events").token(&token)).await.sqlstate(), "42501");
    run(&session, "GRANT operator TO plains").await.expect("another role");
    assert_eq!(ground.ask(get("/api/v1/events").token(&token)).await.status, 200);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_so_many_tokens() {
    let ground = Ground::with_users().await;
    let (first, second) = (ground.token("plains").await, ground.token("plains").await);
    let other = ground.token("operators").await;
    for _ in 0..99 {
        ground.token("plains").await;
    }
    let asked = async |token: &str| ground.ask(get("/api/v1/shards").token(token)).await.status;
    assert_eq!((asked(&first).await, asked(&second).await, asked(&other).await), (401, 200, 200));
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_for_users_and_probes_for_all() {
    let ground = Ground::with_users().await;
    assert_eq!(ground.ask(get("/livez")).await.status, 200);
    assert_eq!(ground.ask(get("/readyz")).await.status, 200);
    let reply = ground.ask(get("/metrics")).await;
    assert_eq!((reply.status, reply.sqlstate().as_str()), (401, "28000"));
    assert_eq!(ground.ask(get("/metrics").password("plains", PASSWORD)).await.status, 200);
    assert_eq!(ground.ask(get("/metrics").password("plains", "wrong")).await.sqlstate(), "28P01");
    let token = ground.token("plains").await;
    assert_eq!(ground.ask(get("/metrics").token(&token)).await.status, 200);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_logins_only_programs_of_this_machine_ask() {
    let ground = Ground::new().await;
    let list = || get("/api/v1/shards");
    assert_eq!(ground.ask(list()).await.status, 200);
    assert_eq!(ground.ask(list().header("host", "localhost:8080")).await.status, 200);
    assert_eq!(ground.ask(list().header("host", "rebound.example")).await.status, 403);
    assert_eq!(ground.ask(list().header("origin", "https://evil.example")).await.status, 403);
    assert_eq!(ground.ask(list().header("origin", "null")).await.status, 403);
    assert_eq!(ground.ask(list().header("origin", "http://localhost:8080")).await.status, 200);
    let reply = ground.ask(post("/api/v1/tokens").password("a", "b")).await;
    assert_eq!((reply.status, reply.sqlstate().as_str()), (409, "55000"));
    // Whoever gives a user's name is that user.
    ground.pql("CREATE USER ada PASSWORD 'a long secret'").await;
    let who = post("/api/v1/pql").json(&json!({ "statement": "SELECT current_user" }));
    assert_eq!(ground.ask(who.clone().password("ada", "")).await.json()["rows"], json!([["ada"]]));
    assert_eq!(ground.ask(who).await.json()["rows"], json!([["evenkeel"]]));
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_served_in_the_clear() {
    let database = Temporary::new(1);
    for authentication in [Authentication::Trust, Authentication::Users] {
        let listen = "0.0.0.0:0".parse().expect("an address");
        let options = Options { listen, authentication, tls: None, connections: Vec::new() };
        let error = Server::bind(database.database(), options).await.err().expect("refused");
        assert!(error.hint.is_some(), "{error}");
    }
}
