//! Logins, nonces and profile links that have expired.

use culvert_model::Id;
use culvert_model::record::{Nonce, ProfileLink, Session};

use crate::kit::{Broken, made, touch};

#[tokio::test]
async fn only_what_has_expired_goes() {
    let broken = Broken::new();
    let (_, now) = broken.bus.here().await.expect("the bus answers");
    for (name, expires) in [("old", now - 1), ("new", now + 60_000), ("renewed", now - 1)] {
        broken.put(&made(|it: &mut Session| (it.id, it.expires) = (name.into(), expires))).await;
        broken.put(&made(|it: &mut Nonce| (it.id, it.expires) = (name.into(), expires))).await;
        let link = made(|it: &mut ProfileLink| {
            (it.id, it.short, it.user, it.expires) = (name.into(), name.into(), Id::new(), expires);
        });
        broken.put(&link).await;
    }
    // Somebody uses a login in just this moment.
    let renewed = made(|it: &mut Session| (it.id, it.expires) = ("renewed".into(), now + 60_000));
    broken.before_the_next(vec![touch(&renewed)]);
    assert_eq!(broken.says("expired").await, "1 login, 2 nonces and 2 profile links removed");
    assert!(broken.has::<Session>("new").await && broken.has::<Session>("renewed").await);
    assert!(broken.has::<Nonce>("new").await && broken.has::<ProfileLink>("new").await);
    assert_eq!(broken.says("expired").await, "0 logins, 0 nonces and 0 profile links removed");
}
