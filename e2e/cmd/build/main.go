// Command build builds the servers that the tests start, unless they are in the user's cache, and prints where
// they are. It is run in the directory of this module.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"assay/e2e/stack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.Getwd()
	if err == nil {
		dir, err = stack.Build(ctx, dir, func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
	fmt.Println(dir)
}
