// Package probe is the program that the engines' tests run in containers: it
// does one small thing that its arguments name. The real one is probe/cmd,
// compiled into an image; the fake engine calls Main. It must never know which
// of them it is in.
package probe

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// World is what the program sees of its container.
type World struct {
	Args      []string // without the program's own name
	Env       map[string]string
	Stdin     io.Reader
	Stdout    io.Writer
	Stderr    io.Writer
	ReadFile  func(name string) ([]byte, error)
	WriteFile func(name string, data []byte) error
	// Listen opens a TCP socket that stays open until the end.
	Listen func(addr string) error
	// Dial connects once.
	Dial func(addr string) error
	// Lookup finds a name's IPv4 addresses, by UDP or by TCP.
	Lookup func(network, name string) ([]string, error)
	// Term is closed by the stop signal.
	Term <-chan struct{}
	// Killed is closed by a kill that does not end the program by itself: nil
	// in a real container.
	Killed <-chan struct{}
	// Sizes are the terminal's, "80x24", as they change.
	Sizes <-chan string
}

// Main runs the program and returns its exit code. The commands:
//
//	serve [ADDR...]   listen, print "ready", wait for the stop signal, print "bye"
//	stubborn          print "ready" and ignore the stop signal
//	exit N            end with code N
//	say [out:TEXT|err:TEXT...]  print lines; "\r" in TEXT is a carriage return
//	long N            print one line of N bytes
//	cat [FILE...]     print files, or copy standard input
//	write FILE TEXT   write a file
//	env NAME          print a variable
//	dial ADDR...      try to connect to each and print "ADDR ok" or "ADDR" and the error
//	lookup udp|tcp NAME...      print "NAME" and its addresses, sorted, or why there are none
//	size              print the terminal's next size
func Main(w World) int {
	if len(w.Args) == 0 {
		w.Args = []string{"serve"}
	}
	name, args := w.Args[0], w.Args[1:]
	var err error
	switch name {
	case "serve":
		err = serve(w, args)
	case "stubborn":
		fmt.Fprintln(w.Stdout, "ready")
		<-w.Killed
	case "exit":
		return atoi(args)
	case "say":
		say(w, args)
	case "long":
		fmt.Fprintln(w.Stdout, strings.Repeat("x", atoi(args)))
	case "cat":
		err = cat(w, args)
	case "write":
		err = w.WriteFile(args[0], []byte(args[1]))
	case "env":
		fmt.Fprintln(w.Stdout, w.Env[args[0]])
	case "dial":
		dial(w, args)
	case "lookup":
		lookup(w, args[0], args[1:])
	case "size":
		fmt.Fprintln(w.Stdout, "ready")
		select {
		case size := <-w.Sizes:
			fmt.Fprintln(w.Stdout, size)
		case <-w.Killed:
		}
	default:
		err = fmt.Errorf("unknown command %q", name)
	}
	if err != nil {
		fmt.Fprintln(w.Stderr, err)
		return 1
	}
	return 0
}

func atoi(args []string) int {
	n, _ := strconv.Atoi(strings.Join(args, ""))
	return n
}

func serve(w World, addrs []string) error {
	for _, a := range addrs {
		if err := w.Listen(a); err != nil {
			return err
		}
	}
	fmt.Fprintln(w.Stdout, "ready")
	select {
	case <-w.Term:
	case <-w.Killed:
		return nil
	}
	fmt.Fprintln(w.Stdout, "bye")
	return nil
}

func say(w World, args []string) {
	for _, a := range args {
		stream, text, _ := strings.Cut(a, ":")
		to := w.Stdout
		if stream == "err" {
			to = w.Stderr
		}
		fmt.Fprintln(to, strings.ReplaceAll(text, `\r`, "\r"))
	}
}

func cat(w World, files []string) error {
	if len(files) == 0 {
		_, err := io.Copy(w.Stdout, w.Stdin)
		return err
	}
	for _, f := range files {
		text, err := w.ReadFile(f)
		if err != nil {
			return err
		}
		if _, err := w.Stdout.Write(text); err != nil {
			return err
		}
	}
	return nil
}

func dial(w World, addrs []string) {
	for _, a := range addrs {
		if err := w.Dial(a); err != nil {
			fmt.Fprintln(w.Stdout, a, err)
		} else {
			fmt.Fprintln(w.Stdout, a, "ok")
		}
	}
}

func lookup(w World, network string, names []string) {
	for _, name := range names {
		addrs, err := w.Lookup(network, name)
		if err != nil {
			addrs = []string{err.Error()}
		}
		slices.Sort(addrs)
		fmt.Fprintln(w.Stdout, name, strings.Join(addrs, ","))
	}
}
