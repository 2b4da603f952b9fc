use super::*;
use crate::view::SearchView;

async fn find(fixture: &Fixture, query: &str) -> SearchView {
    let query = query.to_owned();
    fixture.read(move |db| crate::store::search::search(db, &query, None, 50)).await
}

async fn texts(fixture: &Fixture, query: &str) -> Vec<String> {
    let hits = find(fixture, query).await.hits;
    hits.into_iter().map(|hit| hit.snippet.into_iter().map(|part| part.text).collect()).collect()
}

async fn with(lines: &[&str]) -> Fixture {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for line in lines {
        fixture.says(bo, line);
    }
    let high = fixture.log.len() as u64;
    fixture.apply(vec![fixture.append(1, high)]).await;
    fixture
}

#[tokio::test]
async fn a22_inner_characters_of_scripts_without_spaces_are_found() {
    let fixture = with(&["我们明天下午见面", "東京タワーへ行きました", "회의는내일입니다", "plain"]).await;
    assert_eq!(texts(&fixture, "明天").await, ["我们明天下午见面"]);
    assert_eq!(texts(&fixture, "午").await, ["我们明天下午见面"]);
    assert_eq!(texts(&fixture, "タワ").await, ["東京タワーへ行きました"]);
    assert_eq!(texts(&fixture, "내일").await, ["회의는내일입니다"]);
    assert_eq!(texts(&fixture, "天明").await, Vec::<String>::new());
    let hit = find(&fixture, "明天").await.hits.remove(0);
    assert_eq!(hit.snippet[1].text, "明天");
    assert!(hit.snippet[1].hit);
}

#[tokio::test]
async fn a23_the_beginning_of_a_word_finds_it() {
    let fixture = with(&["Ask Marvell about the offer", "Žluťoučký kůň", "nothing"]).await;
    assert_eq!(texts(&fixture, "Marvel").await, ["Ask Marvell about the offer"]);
    assert_eq!(texts(&fixture, "marvel offer").await, ["Ask Marvell about the offer"]);
    assert_eq!(texts(&fixture, "zlutoucky").await, ["Žluťoučký kůň"]);
    assert_eq!(texts(&fixture, "marvel nothing").await, Vec::<String>::new());
}

#[tokio::test]
async fn sec_083_a23_no_input_is_a_syntax_error() {
    let fixture = with(&["C++ and \"quotes\" 👍", "a AND b OR (c)"]).await;
    for query in [
        "\" OR * NEAR( ^ -",
        "a\" OR \"b",
        "search MATCH 'x'; DROP TABLE messages; --",
        "\"",
        "*",
        "a AND",
        "NOT",
        "(",
        "text:x",
        "^",
        "NEAR(a b)",
        "-",
        "''",
        "a\0b",
        "  ",
        "",
        "{a}",
        "a-b+c",
    ] {
        find(&fixture, query).await;
    }
    assert_eq!(texts(&fixture, "👍").await.len(), 1);
    assert_eq!(texts(&fixture, "++ quotes").await.len(), 1);
    assert_eq!(texts(&fixture, "\"quotes\"").await.len(), 1);
    assert_eq!(texts(&fixture, "b (c)").await.len(), 1);
}

#[tokio::test]
async fn search_follows_edits_and_deletes_and_says_how_much_it_saw() {
    let mut fixture = with(&["first banana", "second", "third banana"]).await;
    let bo = fixture.bo;
    let (first, third) = (fixture.log[0].id, fixture.log[2].id);
    assert_eq!(texts(&fixture, "banana").await, ["third banana", "first banana"]);
    fixture.number(bo, EventId::mint(), &EventContent::Edit { target: first, text: "first apple".into() });
    fixture.number(bo, EventId::mint(), &EventContent::Delete { target: third });
    fixture.apply(vec![fixture.append(4, 5)]).await;
    assert_eq!(texts(&fixture, "banana").await, Vec::<String>::new());
    assert_eq!(texts(&fixture, "apple").await, ["first apple"]);
    let view = find(&fixture, "apple").await;
    assert_eq!((view.searched, view.total, view.more), (3, 3, false));
    for at in 0..50 {
        fixture.says(bo, &format!("unseen {at}"));
    }
    fixture.says(bo, "newest");
    fixture.apply(vec![fixture.heads(true), fixture.append(56, 56)]).await;
    let view = find(&fixture, "newest").await;
    assert_eq!((view.hits.len(), view.searched, view.total), (1, 4, 54));
}

#[tokio::test]
async fn a22_pages_that_come_the_newest_first_in_one_transaction_are_all_found() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for number in 1..=60 {
        fixture.says(bo, &format!("word {number}"));
    }
    let (target, edited) = (fixture.log[29].id, fixture.log[39].id);
    fixture.number(bo, EventId::mint(), &EventContent::Delete { target });
    fixture.number(bo, EventId::mint(), &EventContent::Edit { target: edited, text: "mended".into() });
    let page = |low, high| StoreOp::Page(fixture.page(low, high));
    fixture.apply(vec![fixture.heads(false), page(41, 62), page(21, 40), page(1, 20)]).await;
    let wanted: Vec<_> =
        (1..=60).rev().filter(|at| ![30, 40].contains(at)).take(50).map(|at| format!("word {at}")).collect();
    assert_eq!(texts(&fixture, "wor").await, wanted);
    assert_eq!(texts(&fixture, "mend").await, ["mended"]);
    assert_eq!(find(&fixture, "word").await.hits.len(), 50);
    // Again, and nothing is there twice.
    fixture.apply(vec![StoreOp::Page(fixture.page(1, 62))]).await;
    assert_eq!(texts(&fixture, "word 30").await, Vec::<String>::new());
    assert_eq!(texts(&fixture, "word 31").await.len(), 1);
}
