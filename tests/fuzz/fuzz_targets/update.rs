//! The body of an UPDATE, after one octet that says what session it comes from. No panic, and what is accepted is emitted to
//! something that reads back as the same.
#![no_main]

use evpnd::wire::attribute::Attributes;
use evpnd::wire::evpn::routes;
use evpnd::wire::header;
use evpnd::wire::update::{RawAttributes, UpdateContext, UpdateView, emit_reach, reach_overhead};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&session, body)) = data.split_first() else { return };
    let context = UpdateContext { four_octet_as: session & 1 != 0, external: session & 2 != 0 };
    let Ok(view) = UpdateView::parse(body) else { return };
    let _ = view.end_of_rib();
    for nlri in [view.reach.map(|reach| reach.nlri), view.unreach.map(|unreach| unreach.nlri)].into_iter().flatten() {
        for route in routes(nlri) {
            match route {
                Ok(route) => drop(route.to_string()),
                Err(error) => drop(error.to_string()),
            }
        }
    }
    let Ok((attributes, mistakes)) = view.parse_attributes(&context) else { return };
    mistakes.iter().for_each(|error| drop(error.to_string()));
    // AS4_PATH cannot hold a confederation's segments: of such a path part is lost towards a 2-octet speaker.
    if !context.four_octet_as && attributes.as_path.has_confederation() {
        return;
    }
    let mut onward = attributes.clone();
    onward.pass_on();
    // The block alone.
    let mut block = Vec::new();
    attributes.emit(&mut block, &context);
    if block.len() > 60_000 {
        return;
    }
    let raw = RawAttributes { pieces: [&block, &[], &[]] };
    let (mut again, mistakes) = Attributes::parse(&raw, None, &context).unwrap();
    assert!(mistakes.is_empty(), "{mistakes:?}");
    again.next_hop = onward.next_hop;
    assert_eq!(again, onward);
    let mut second = Vec::new();
    again.emit(&mut second, &context);
    assert_eq!(block, second);
    // The whole UPDATE.
    let (Some(reach), Some(_)) = (view.reach, attributes.next_hop) else { return };
    let mut message = Vec::new();
    emit_reach(&mut message, &attributes, &context, reach.nlri);
    let spare = reach_overhead(&attributes, &context) + reach.nlri.len() - message.len();
    assert!(spare <= 1);
    let frame = header::frame(&message, header::MAX_EXTENDED_MESSAGE_LEN).unwrap().unwrap();
    let view = UpdateView::parse(frame.body).unwrap();
    assert_eq!(view.reach.unwrap().nlri, reach.nlri);
    assert_eq!(Attributes::parse(&view.attributes, Some(view.reach.unwrap().next_hop), &context).unwrap(), (onward, vec![]));
});
