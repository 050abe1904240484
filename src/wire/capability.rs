//! Capabilities of the OPEN (RFC 5492).

/// One capability. Unknown ones survive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capability {
    /// 1 (RFC 4760 §8)
    MultiProtocol {
        /// AFI
        afi: u16,
        /// SAFI
        safi: u8,
    },
    /// 2 (RFC 2918)
    RouteRefresh,
    /// 6 (RFC 8654)
    ExtendedMessage,
    /// 9 (RFC 9234)
    Role(u8),
    /// 64 (RFC 4724, RFC 8538)
    GracefulRestart(GracefulRestart),
    /// 65 (RFC 6793)
    FourOctetAs(u32),
    /// 69 (RFC 7911): AFI, SAFI, send/receive
    AddPath(Vec<(u16, u8, u8)>),
    /// 70 (RFC 7313)
    EnhancedRouteRefresh,
    /// 71 (RFC 9494): AFI, SAFI, flags (0x80 = F), stale time in seconds (24 bits)
    LongLivedGracefulRestart(Vec<(u16, u8, u8, u32)>),
    /// 73: host name, domain name
    Fqdn {
        /// Host name (lossy UTF-8).
        host: String,
        /// Domain.
        domain: String,
    },
    /// Any other.
    Unknown {
        /// Code.
        code: u8,
        /// Value.
        value: Vec<u8>,
    },
}
/// Graceful restart capability.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GracefulRestart {
    /// R bit: the sender restarted.
    pub restarted: bool,
    /// N bit (RFC 8538).
    pub notification: bool,
    /// 12 bits, seconds.
    pub restart_time_secs: u16,
    /// AFI, SAFI, F bit (forwarding state kept).
    pub families: Vec<(u16, u8, bool)>,
}
