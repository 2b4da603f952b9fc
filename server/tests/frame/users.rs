//! Finding people, and one's own profile.

use crate::support::World;
use kith_protocol::{ErrorCode, api::Profile};
use reqwest::Method;
use serde_json::json;

async fn names(world: &World, token: &str, query: &str) -> (Vec<String>, Option<String>) {
    let answer = world.get(&format!("/v1/users?{query}"), token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let items: Vec<Profile> = serde_json::from_value(answer.body["items"].clone()).unwrap();
    let next = answer.body["next"].as_str().map(str::to_owned);
    (items.into_iter().map(|profile| profile.username).collect(), next)
}

#[tokio::test]
async fn people_are_found_by_the_beginning_of_their_names_in_pages() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    sqlx::query(
        "INSERT INTO users (id, username, display_name, password_hash)
         SELECT gen_random_uuid(), 'person-' || lpad(n::text, 2, '0'), 'Greta ' || 'Ölund ' || n, '' FROM generate_series(1, 25) n",
    )
    .execute(&world.server.pool)
    .await
    .unwrap();
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let (page, next) =
            names(&world, &ada.access_token, &format!("query=person&limit=10&after={after}")).await;
        assert!(page.len() <= 10);
        all.extend(page);
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    let expected: Vec<String> = (1..=25).map(|n| format!("person-{n:02}")).collect();
    assert_eq!(all, expected);
    assert_eq!(names(&world, &ada.access_token, "query=GRETA&limit=3").await.0.len(), 3);
    assert_eq!(names(&world, &ada.access_token, "query=%C3%96lu&limit=3").await.0.len(), 3, "a second word");
    assert_eq!(names(&world, &ada.access_token, "query=reta").await.0.len(), 0);
}

#[tokio::test]
async fn wildcards_and_quotes_in_a_query_are_plain_text() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    world.person("under_score").await;
    for query in ["%25", "_", "a%25a", "%5C", "%27%3B--", "%22"] {
        assert_eq!(names(&world, &ada.access_token, &format!("query={query}")).await.0.len(), 0, "{query}");
    }
    assert_eq!(names(&world, &ada.access_token, "query=under_").await.0, ["under_score"]);
    for bad in ["limit=0", "limit=-1", "limit=x", "token=x", "query=%00"] {
        let answer = world.get(&format!("/v1/users?{bad}"), &ada.access_token).await;
        answer.refused(400, ErrorCode::Invalid);
    }
}

#[tokio::test]
async fn a_profile_shows_no_email_to_others_and_its_version_rises_with_a_change() {
    let world = World::start().await;
    let (ada, bo) = (world.person("ada").await, world.person("bob").await);
    sqlx::query("UPDATE users SET email = username || '@example.org'")
        .execute(&world.server.pool)
        .await
        .unwrap();
    let path = format!("/v1/users/{}", ada.user.id);
    assert!(world.get(&path, &bo.access_token).await.body.get("email").is_none());
    assert_eq!(world.get("/v1/me", &ada.access_token).await.body["email"], "ada@example.org");
    let rename = async |name: &str| {
        let body = json!({"display_name": name});
        world.ask(Method::PATCH, "/v1/me", Some(&ada.access_token), Some(body)).await
    };
    let changed = rename("Ada Lovelace").await;
    assert_eq!(
        (changed.body["display_name"].as_str(), changed.body["version"].as_u64()),
        (Some("Ada Lovelace"), Some(2))
    );
    assert_eq!(rename("Ada Lovelace").await.body["version"], 2, "no change, no new version");
    rename("").await.refused(400, ErrorCode::Invalid);
    assert_eq!(world.get(&path, &bo.access_token).await.body["display_name"], "Ada Lovelace");
    let nobody = format!("/v1/users/{}", uuid::Uuid::now_v7());
    world.get(&nobody, &bo.access_token).await.refused(404, ErrorCode::TargetMissing);
    world.get("/v1/users/ada", &bo.access_token).await.refused(400, ErrorCode::Invalid);
}

#[tokio::test]
async fn people_of_another_tenant_do_not_exist() {
    let world = World::start().await;
    let (ada, other) = (world.person("ada").await, world.person("other").await);
    sqlx::query("UPDATE users SET tenant = 'elsewhere' WHERE username = 'other'")
        .execute(&world.server.pool)
        .await
        .unwrap();
    assert_eq!(names(&world, &ada.access_token, "query=other").await.0.len(), 0);
    let path = format!("/v1/users/{}", other.user.id);
    world.get(&path, &ada.access_token).await.refused(404, ErrorCode::TargetMissing);
}

#[tokio::test]
async fn a_beginning_that_thousands_share_is_answered_with_some_of_them_and_a_longer_one_with_all() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    sqlx::query(
        "INSERT INTO users (id, username, display_name, password_hash)
         SELECT gen_random_uuid(), 'p' || lpad(n::text, 5, '0'), '李 ' || n, '' FROM generate_series(1, 3000) n",
    )
    .execute(&world.server.pool)
    .await
    .unwrap();
    assert_eq!(names(&world, &ada.access_token, "query=p&limit=200").await.0.len(), 200);
    assert_eq!(names(&world, &ada.access_token, "query=p02999").await.0, ["p02999"]);
    assert_eq!(names(&world, &ada.access_token, "query=%E6%9D%8E%202999").await.0, ["p02999"], "any script");
    assert_eq!(names(&world, &ada.access_token, "query=%E6%9D%8E&limit=5").await.0.len(), 5);
    sqlx::query("UPDATE users SET display_name = 'Other' WHERE username = 'p02999'")
        .execute(&world.server.pool)
        .await
        .unwrap();
    assert_eq!(names(&world, &ada.access_token, "query=%E6%9D%8E%202999").await.0.len(), 0);
    assert_eq!(names(&world, &ada.access_token, "query=oth").await.0, ["p02999"]);
}
