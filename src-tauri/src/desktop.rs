//! What kind of desktop this is.

/// Whether there is a tray that shows icons: elsewhere than on Linux always, there if a host has registered.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn has_tray() -> bool {
    true
}

/// Whether there is a tray that shows icons: a StatusNotifierWatcher with a registered host.
#[cfg(target_os = "linux")]
pub(crate) async fn has_tray() -> bool {
    const WATCHER: &str = "org.kde.StatusNotifierWatcher";
    const LIMIT: std::time::Duration = std::time::Duration::from_secs(1);
    let ask = async {
        let bus = zbus::Connection::session().await?;
        let watcher: zbus::Proxy<'_> = zbus::proxy::Builder::new(&bus)
            .destination(WATCHER)?
            .path("/StatusNotifierWatcher")?
            .interface(WATCHER)?
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        watcher.get_property::<bool>("IsStatusNotifierHostRegistered").await
    };
    // No bus, no watcher and no answer all mean that an icon would not be seen.
    matches!(tokio::time::timeout(LIMIT, ask).await, Ok(Ok(true)))
}
