package main

import "os"

func main() {
	os.Stdout.WriteString("this interpreter runs scripts\n")
}
