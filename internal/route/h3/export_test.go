package h3

import "golang.org/x/net/bpf"

// Steering is the program that Steer hands to the kernel.
func Steering(current int, live uint) []bpf.Instruction { return steering(current, live) }

// NewID makes a connection ID of a slot.
func NewID(slot int) []byte {
	id, _ := ids{slot}.GenerateConnectionID()
	return id.Bytes()
}
