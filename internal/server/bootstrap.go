package server

import (
	"context"
	"fmt"
	"os"
	"slices"

	"landward/internal/auth"
	"landward/internal/store"
)

// bootstrap makes the one-time token of the first administrator while there is
// none, and prints its link. There is no default password, and whoever
// comes first over the network gets nothing.
func (c *Control) bootstrap(ctx context.Context) error {
	users, err := c.store.Users(ctx)
	if err != nil || slices.ContainsFunc(users, func(u store.User) bool { return u.Admin }) {
		return err
	}
	// The stored hash cannot be printed again, so each start makes a new one
	// until it has been used.
	text, fact := auth.NewBootstrap()
	if err := c.store.SetFact(ctx, store.BootstrapFact, fact); err != nil {
		return err
	}
	_, err = fmt.Fprintf(os.Stdout, "\n  Open this link once to become the administrator:\n\n      %s/bootstrap#%s\n\n"+
		"  or, on this machine, use the command line as it is: root is administrator.\n\n",
		c.url("landward."+c.cfg.Domain), text)
	return err
}
