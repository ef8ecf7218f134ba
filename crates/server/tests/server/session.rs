//! Sessions: many at once, in any order, and a clean end.

use std::collections::BTreeMap;

use bursar_wire::v1::{self, session_answer::Answer};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use super::support::*;

struct Talk {
    say: Option<mpsc::Sender<v1::SessionRequest>>,
    hear: Streaming<v1::SessionResponse>,
    answers: BTreeMap<u64, Answer>,
    messages: usize,
}

impl Talk {
    async fn with(server: &Running) -> Self {
        let (say, said) = mpsc::channel(16);
        let outbound =
            futures_util::stream::unfold(said, |mut said| async { Some((said.recv().await?, said)) });
        let hear = soon(server.permits().await.session(outbound)).await.unwrap().into_inner();
        Self { say: Some(say), hear, answers: BTreeMap::new(), messages: 0 }
    }

    async fn say(&self, message: v1::SessionRequest) {
        soon(self.say.as_ref().unwrap().send(message)).await.unwrap();
    }

    async fn acquires(&self, ids: std::ops::Range<u64>, request: &v1::AcquireRequest) {
        for chunk in ids.collect::<Vec<_>>().chunks(256) {
            let one = |id: &u64| v1::SessionAcquire { id: *id, request: Some(request.clone()) };
            let acquires = chunk.iter().map(one).collect();
            self.say(v1::SessionRequest { acquires, ..Default::default() }).await;
        }
    }

    async fn settles(&self, settles: impl IntoIterator<Item = (u64, v1::SettleRequest)>) {
        let one = |(id, request)| v1::SessionSettle { id, request: Some(request) };
        let settles = settles.into_iter().map(one).collect();
        self.say(v1::SessionRequest { settles, ..Default::default() }).await;
    }

    async fn cancels(&self, cancels: Vec<u64>) {
        self.say(v1::SessionRequest { cancels, ..Default::default() }).await;
    }

    /// Hears until the answer to `id` has come.
    async fn answer(&mut self, id: u64) -> Answer {
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return answer;
            }
            let message = soon(self.hear.message()).await.unwrap().expect("the session goes on");
            self.messages += 1;
            assert!((1..=256).contains(&message.answers.len()), "{}", message.answers.len());
            for answer in message.answers {
                assert!(self.answers.insert(answer.id, answer.answer.unwrap()).is_none(), "one answer an id");
            }
        }
    }

    async fn permit(&mut self, id: u64) -> String {
        match self.answer(id).await {
            Answer::Acquired(response) => permit(response).permit_id,
            other => panic!("{other:?}"),
        }
    }

    async fn refusal(&mut self, id: u64) -> v1::Refusal {
        match self.answer(id).await {
            Answer::Acquired(response) => refusal(response),
            other => panic!("{other:?}"),
        }
    }

    async fn error(&mut self, id: u64) -> v1::SessionError {
        match self.answer(id).await {
            Answer::Error(error) => error,
            other => panic!("{other:?}"),
        }
    }

    /// Says no more, and hears the end.
    async fn end(mut self) -> Result<(), Status> {
        self.say = None;
        while soon(self.hear.message()).await?.is_some() {}
        Ok(())
    }
}

#[tokio::test]
async fn many_are_under_way_at_once_and_answers_share_messages() {
    let server = start(1000).await;
    let mut talk = Talk::with(&server).await;
    talk.acquires(0..1000, &acquire()).await;
    let mut permits = Vec::new();
    for id in 0..1000 {
        permits.push(talk.permit(id).await);
    }
    assert!(talk.messages < 500, "{} messages for 1000 answers", talk.messages);
    for (chunk, ids) in permits.chunks(250).zip([2000, 3000, 4000, 5000]) {
        talk.settles((ids..).zip(chunk.iter().map(|id| lost(id)))).await;
        let Answer::Settled(settled) = talk.answer(ids + 249).await else { panic!() };
        assert_eq!(settled.result(), v1::SettleResult::Applied);
    }
    server.ledger.until(|state| state.settled == 1000).await;
    talk.end().await.unwrap();
}

#[tokio::test]
async fn settlements_pass_the_acquires_that_wait_for_them() {
    let server = start(1).await;
    let mut talk = Talk::with(&server).await;
    talk.acquires(0..10, &waiting()).await;
    let mut left: Vec<u64> = (0..10).collect();
    while !left.is_empty() {
        // Whoever it is that has the slot.
        let found = soon(async {
            loop {
                if let Some(at) = left.iter().position(|id| talk.answers.contains_key(id)) {
                    break left.remove(at);
                }
                let message = talk.hear.message().await.unwrap().unwrap();
                talk.answers.extend(message.answers.into_iter().map(|a| (a.id, a.answer.unwrap())));
            }
        })
        .await;
        let permit = talk.permit(found).await;
        talk.settles([(100 + found, lost(&permit))]).await;
    }
    server.ledger.until(|state| state.granted == 10 && state.settled == 10).await;
}

#[tokio::test]
async fn an_acquire_carries_its_settlement_and_a_renewal_stands_beside_it() {
    let server = start(2).await;
    let mut talk = Talk::with(&server).await;
    talk.acquires(0..2, &acquire()).await;
    let (first, second) = (talk.permit(0).await, talk.permit(1).await);
    let request = v1::AcquireRequest { settle: Some(lost(&first)), ..acquire() };
    let renew = v1::RenewRequest { budget: "b".into(), permit_id: second, ttl_ms: 70_000 };
    talk.say(v1::SessionRequest {
        acquires: vec![v1::SessionAcquire { id: 5, request: Some(request) }],
        renews: vec![v1::SessionRenew { id: 6, request: Some(renew) }],
        ..Default::default()
    })
    .await;
    let Answer::Acquired(acquired) = talk.answer(5).await else { panic!() };
    assert_eq!(acquired.settled.as_ref().map(|s| s.result()), Some(v1::SettleResult::Applied));
    permit(acquired);
    let Answer::Renewed(renewed) = talk.answer(6).await else { panic!() };
    assert_eq!(renewed.deadline_ms, 70_000);
}

#[tokio::test]
async fn what_is_broken_is_answered_by_itself() {
    let server = start(1).await;
    let mut talk = Talk::with(&server).await;
    talk.acquires(1..2, &v1::AcquireRequest { tier: 7, ..acquire() }).await;
    talk.settles([(2, lost("forged")), (3, v1::SettleRequest::default())]).await;
    let acquired = talk.error(1).await;
    assert_eq!((acquired.code, acquired.field.as_str()), (Code::InvalidArgument as u32, "tier"));
    assert_eq!(talk.error(2).await.field, "permit_id");
    assert_eq!(talk.error(3).await.field, "budget");
    server.ledger.state().down = true;
    talk.acquires(4..5, &acquire()).await;
    let down = talk.error(4).await;
    assert_eq!(down.code, Code::Unavailable as u32);
    assert!(down.retry_after_ms.is_some_and(|ms| ms > 0), "{down:?}");
    server.ledger.state().down = false;
    talk.say(v1::SessionRequest {
        acquires: vec![v1::SessionAcquire { id: 5, request: None }],
        ..Default::default()
    })
    .await;
    assert_eq!(talk.error(5).await.field, "budget");
}

#[tokio::test]
async fn acquires_beyond_the_bound_are_told_and_hold_nothing_up() {
    let server = start_with(1, |options| options.session_acquires = 3).await;
    let mut talk = Talk::with(&server).await;
    talk.acquires(0..1, &acquire()).await;
    let held = talk.permit(0).await;
    talk.acquires(1..6, &waiting()).await;
    for id in [4, 5] {
        let full = talk.error(id).await;
        assert_eq!(full.code, Code::ResourceExhausted as u32);
        assert!(full.retry_after_ms.is_some() && full.message.contains("session is full"), "{full:?}");
    }
    talk.settles([(9, lost(&held))]).await;
    talk.answer(9).await;
    talk.permit(1).await;
    talk.acquires(6..7, &waiting()).await;
    talk.cancels(vec![2, 3, 6]).await;
    talk.refusal(6).await;
}

#[tokio::test]
async fn a_cancelled_acquire_is_answered_and_leaves_nothing() {
    let server = start(1).await;
    let mut talk = Talk::with(&server).await;
    talk.acquires(0..1, &acquire()).await;
    let held = talk.permit(0).await;
    talk.acquires(1..2, &waiting()).await;
    server.ledger.refused(1).await;
    talk.cancels(vec![1, 1, 77]).await;
    assert_eq!(talk.refusal(1).await.reason(), v1::RefusalReason::WaitTooLong);
    // Its id is free again, and so is the slot once its holder settles.
    talk.acquires(1..2, &waiting()).await;
    talk.settles([(2, lost(&held))]).await;
    talk.permit(1).await;
    // Cancelled while it is being decided: what was granted is given back, with a request id as well.
    let before = server.ledger.counts();
    server.ledger.open(false);
    server.ledger.state().free = 2;
    talk.acquires(3..4, &waiting()).await;
    talk.cancels(vec![3]).await;
    assert_eq!(talk.refusal(3).await.reason(), v1::RefusalReason::WaitTooLong);
    server.ledger.open(true);
    server.ledger.until(|now| now.granted - before.0 == now.not_sent - before.1).await;
}

#[tokio::test]
async fn a_session_that_ends_gives_back_what_it_did_not_deliver() {
    let server = start(5).await;
    let talk = Talk::with(&server).await;
    server.ledger.open(false);
    talk.acquires(0..5, &waiting()).await;
    // Only once the server has read them can they be under way.
    soon(async {
        while !super::admin::get(server.admin, "/metrics").await.1.contains("bursar_server_sessions 1") {}
    })
    .await;
    drop(talk);
    soon(async {
        while !super::admin::get(server.admin, "/metrics").await.1.contains("bursar_server_sessions 0") {}
    })
    .await;
    server.ledger.open(true);
    let mut permits = server.permits().await;
    for _ in 0..5 {
        permit(soon(permits.acquire(waiting())).await.unwrap().into_inner());
    }
    let state = server.ledger.state();
    assert_eq!(state.granted - state.not_sent, 5);
}

#[tokio::test]
async fn half_closing_waits_for_the_answers() {
    let server = start(1).await;
    let mut talk = Talk::with(&server).await;
    talk.acquires(0..1, &acquire()).await;
    let held = talk.permit(0).await;
    talk.acquires(1..2, &waiting()).await;
    server.ledger.refused(1).await;
    talk.say = None;
    let mut permits = server.permits().await;
    soon(permits.settle(lost(&held))).await.unwrap();
    talk.permit(1).await;
    assert!(soon(talk.hear.message()).await.unwrap().is_none(), "then it ends well");
}

#[tokio::test]
async fn what_cannot_be_matched_ends_the_session() {
    let server = start(0).await;
    for (messages, field) in [
        (vec![vec![1], vec![1]], "acquires[0].id"),
        (vec![vec![7, 8, 7]], "acquires[2].id"),
        (vec![(0..257).collect()], "acquires"),
    ] {
        let mut talk = Talk::with(&server).await;
        for ids in messages {
            let one = |id| v1::SessionAcquire { id, request: Some(waiting()) };
            let acquires = ids.into_iter().map(one).collect();
            talk.say(v1::SessionRequest { acquires, ..Default::default() }).await;
        }
        let status = soon(talk.hear.message()).await.unwrap_err();
        assert_eq!(violation(&status).0, field);
    }
}

#[tokio::test]
async fn a_session_ends_with_the_server() {
    let mut server = start(1).await;
    let mut talk = Talk::with(&server).await;
    talk.acquires(0..1, &acquire()).await;
    let held = talk.permit(0).await;
    talk.acquires(1..2, &waiting()).await;
    server.ledger.refused(1).await;
    server.stop();
    // New ones are refused, settlements are taken, and the one that waits may still finish.
    soon(async {
        for id in 10.. {
            talk.acquires(id..id + 1, &acquire()).await;
            if talk.refusal(id).await.reason() == v1::RefusalReason::Draining {
                break;
            }
        }
    })
    .await;
    talk.settles([(2, lost(&held))]).await;
    talk.permit(1).await;
    let status = soon(talk.end()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.get_details_retry_info().is_some());
    server.ended().await.unwrap();
}
