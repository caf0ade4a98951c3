//! Receivers that work again when a person has mended something.

use super::*;

#[tokio::test]
async fn a_key_that_is_mended_after_hours_is_used_within_five_minutes() {
    let web = Web::start(|_| 204).await;
    let mut world = World::start(LOOPBACK);
    let mut hook = world.server.get("/secrets/hook").unwrap();
    hook["data"]["key"] = json!(receivers::base64("no key"));
    world.server.put(&hook);
    world.put("photos", webhook(&web.url("/")));
    world.announce("photos").await;
    for _ in 0..40 {
        world.attempted("photos").await;
        let next = world.pending("photos").deliveries[0].next_attempt_at.0.as_millisecond();
        assert!(next - world.server.clock.now() <= 300_000, "{:?}", world.pending("photos"));
        world.server.clock.set(next);
        world.reconcile("photos").await;
    }
    world.attempted("photos").await;
    hook["data"]["key"] = json!(receivers::base64(KEY));
    world.server.put(&hook);
    world.server.clock.set(world.server.clock.now() + 300_000);
    world.reconcile("photos").await;
    world.attempted("photos").await;
    assert!(world.notifications("photos").pending.is_empty(), "{:?}", world.notifications("photos"));
    assert_eq!(web.got().len(), 1);
}
