package edge_test

import (
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/encoding"
)

func TestMain(m *testing.M) {
	encoding.RegisterCodec(raw{})
	goleak.VerifyTestMain(m)
}
