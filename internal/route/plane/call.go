package plane

import (
	"landward/internal/landward"
	"landward/internal/route/wire"
)

// A gRPC call is a request and an answer like any other, but for two things:
// both go on for as long as client and app like, and its outcome is in the
// answer's trailer, whatever the status.

// isGRPC reports whether a media type is that of gRPC itself: the one of
// gRPC-Web has its trailer in the body, and is not ours to add to.
func isGRPC(mediaType []byte) bool {
	const grpc = "application/grpc"
	if len(mediaType) < len(grpc) || !wire.EqualFold(mediaType[:len(grpc)], grpc) {
		return false
	}
	return len(mediaType) == len(grpc) || mediaType[len(grpc)] == '+' || mediaType[len(grpc)] == ';'
}

// calls reports whether the request is a gRPC call of an app that can take it.
// Its client says something when it has something to say.
func (x *exchange) calls() bool {
	switch x.target.proto {
	case landward.ProtocolH2C, landward.ProtocolH2:
		return isGRPC(x.req.Get("content-type"))
	}
	return false
}

// What a call gets whose app cannot end it, as a last chunk and a trailer. The
// codes are gRPC's UNAVAILABLE, after which clients call again, and
// RESOURCE_EXHAUSTED.
const (
	callBroken   = "0\r\nGrpc-Status: 14\r\nGrpc-Message: the app closed the connection in the middle of its answer\r\n\r\n"
	callCut      = "0\r\nGrpc-Status: 14\r\nGrpc-Message: the app was stopped or has a new release\r\n\r\n"
	callTooLarge = "0\r\nGrpc-Status: 8\r\nGrpc-Message: the request is larger than the limit\r\n\r\n"
)

// cutShort breaks a chunked answer off. A gRPC call is ended with a status
// instead: the reset of a stream means to its client that we have failed, and
// many do not try again then.
func (x *exchange) cutShort() bool {
	_ = x.broke()
	if !x.call {
		return false
	}
	end := callBroken
	switch x.s.ur.at.Load() {
	case hitCut:
		end = callCut
	case hitGone:
		return false
	case hitUpload:
		if x.upload.says.Status == 0 {
			return false // the client has gone
		}
		end = callTooLarge
	}
	if x.writeClient([]byte(end)) {
		x.broken = false // but keep is: nobody knows what else is on its way
	}
	return false
}
