//! The bodies of OPEN, NOTIFICATION and ROUTE-REFRESH, and the header. No panic; an OPEN that is accepted is emitted to one that
//! reads back as the same.
#![no_main]

use evpnd::wire::header;
use evpnd::wire::notification::Notification;
use evpnd::wire::open::Open;
use evpnd::wire::route_refresh::RouteRefresh;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = header::frame(data, header::MAX_EXTENDED_MESSAGE_LEN);
    let _ = RouteRefresh::parse(data).map(|refresh| refresh.to_string());
    if let Ok(notification) = Notification::parse(data) {
        assert!(notification.to_string().chars().all(|c| !c.is_control()));
        let mut message = Vec::new();
        notification.emit(&mut message);
        if data.len() <= header::MAX_MESSAGE_LEN - header::HEADER_LEN {
            let frame = header::frame(&message, header::MAX_MESSAGE_LEN).unwrap().unwrap();
            assert_eq!(Notification::parse(frame.body).unwrap(), notification);
        }
    }
    let Ok(open) = Open::parse(data) else { return };
    open.capabilities.iter().for_each(|capability| drop(capability.to_string()));
    let mut message = Vec::new();
    open.emit(&mut message);
    let frame = header::frame(&message, header::MAX_MESSAGE_LEN).unwrap().unwrap();
    let again = Open::parse(frame.body).unwrap();
    // An OPEN with a parameter for each of some hundred capabilities may not fit a frame; ours puts them into one.
    assert_eq!(again.capabilities, open.capabilities[..again.capabilities.len()]);
    if data.len() <= header::MAX_MESSAGE_LEN - header::HEADER_LEN - 10 {
        assert_eq!(again, open);
    }
    let mut second = Vec::new();
    again.emit(&mut second);
    assert_eq!(message, second);
});
