//go:build ignore

/*
 * busy is the competitor of the contended case: it burns user time on its core for
 * the given number of seconds, or until it is killed.
 *
 *	busy SECONDS
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	volatile unsigned long turns = 0;

	if (argc != 2 || atoi(argv[1]) <= 0) {
		fprintf(stderr, "usage: busy SECONDS\n");
		return 2;
	}
	alarm((unsigned int)atoi(argv[1]));
	for (;;)
		turns++;
}
