# Lines `said: …` are looked at by the test.
box() { "$BOXHERD" --data /var/tmp/data "$@" 2>&1; }
pool() { "$BOXHERD" --data /var/tmp/pool "$@" 2>&1; }
say() { echo "said: $*"; }
groups=/sys/fs/cgroup/boxherd-*

say kernel $(uname -r | cut -d. -f1,2)
say controllers $(cat /sys/fs/cgroup/cgroup.controllers)
say run $(box run --network none -- sh -c 'echo hello from uid $(id -u), pid $$; cat /proc/self/cgroup')
for name in web neighbour; do
    box create -q --network none --memory 64M --pids 40 --cpus 0.25 $name
done
say limits $(cat $groups/*/memory.max $groups/*/pids.max $groups/*/cpu.max | sort -u)

box suspend web
say suspended $(cat $groups/*/cgroup.freeze | sort) $(box ls | grep -c suspended)
box resume web
say resumed $(cat $groups/*/cgroup.freeze | sort) $(box exec web -- echo again)

box exec web -- sh -c 'for n in $(seq 60); do sleep 30 & done' > /tmp/forks
say forks $(tail -n 1 /tmp/forks), refused $(cat $groups/*/pids.events | grep -c 'max [1-9]')
box exec neighbour -- sh -c 'n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done'
say throttled $(grep -q 'nr_throttled [1-9]' $groups/*/cpu.stat && echo yes)

box exec web -- python3 -c 'x = bytearray(200 << 20)' > /dev/null
say memory $? $(box ls | grep web | grep -o 'stopped (oom)')
say neighbour $(box exec neighbour -- echo goes on)

pool doctor --fix > /dev/null
pool create -q --network none --disk 64M disky
pool exec disky -- sh -c 'dd if=/dev/zero of=/root/big bs=1M count=100 2>&1' > /tmp/dd
say disk $(grep -o 'Disk quota exceeded' /tmp/dd)
pool fork disky copy > /dev/null
say copy $(pool exec copy -- sh -c '[ $(stat -c %s /root/big) -gt 60000000 ] && echo has it')
box disk create data 64M > /dev/null
box disk attach data neighbour /data > /dev/null
say attached $(box exec neighbour -- sh -c 'echo kept > /data/file; cat /data/file')

box rm -q --force web neighbour
pool rm -q --force disky copy
box disk rm data > /dev/null
say left $(ls -d $groups 2> /dev/null | wc -l) $(ps ax | grep -c '[b]oxherd-agent')
