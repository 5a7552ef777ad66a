"""What the tests' jobs run: `probe.py MODE SECONDS COUNT NOTE`, a process that does one simple thing."""

import os
import signal
import subprocess
import sys
import time


def main() -> int:
    mode, seconds, count, note = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    if mode == "sleep":
        print("awake", flush=True)
        time.sleep(seconds)
    elif mode == "say":
        for i in range(count):
            print(f"Größe of {note} {i}", flush=True)
            time.sleep(seconds)
    elif mode == "exit":
        time.sleep(seconds)
        print(f"wovr: leaves with {count}", file=sys.stderr, flush=True)
        return count
    elif mode == "polite":  # as a stage does: finishes its step when interrupted
        stopped = []
        signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
        print("awake", flush=True)
        while not stopped:
            time.sleep(0.02)
        print("checkpointed", flush=True)
        return 130
    elif mode == "stubborn":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        print("awake", flush=True)
        time.sleep(seconds)
    elif mode == "brood":  # children in sessions of their own, deaf ones, one that hides who it belongs to
        deaf = (
            "import signal, time; signal.signal(15, signal.SIG_IGN); signal.signal(2, signal.SIG_IGN); time.sleep(60)"
        )
        for environment in (None, None, {"PATH": os.environ["PATH"]}):
            subprocess.Popen([sys.executable, "-S", "-c", deaf], start_new_session=True, env=environment)
        # an orphan: its parent ends at once
        subprocess.run([sys.executable, "-S", "-c", f"import os\nif not os.fork():\n os.setsid()\n {deaf}"], check=True)
        print("awake", flush=True)
        time.sleep(seconds)
    elif mode == "helper":  # one that goes a moment after its parent, as multiprocessing's resource tracker does
        subprocess.Popen([sys.executable, "-S", "-c", f"import time; time.sleep({seconds}); print('helped')"])
    elif mode == "count":  # how often it was started
        with open(note, "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(seconds)
    elif mode == "twice":  # fails the first time
        print(f"attempt {os.environ['WOVR_JOB_ATTEMPT']}", flush=True)
        return 0 if os.environ["WOVR_JOB_ATTEMPT"] == "2" else 1
    elif mode == "environment":
        print(",".join(sorted(os.environ)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
