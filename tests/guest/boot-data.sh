# Sourced by tests/guest/boot: volume groups of every kind on nine data disks, and one that stays away.
on() { "$ulvm" "$@" >said 2>&1 || { cat said; exit 1; }; }
made() { on "$1" --devices "$2" "${@:3}"; }
truncate -s 64M gone
made vgcreate data0,data1 lin data0 data1
made lvcreate data0,data1 -an -Wn -Zn -l 20 -n data lin
truncate -s 80M fs && mke2fs -q -t ext4 fs 2>/dev/null && "$ulvm" write --devices data0,data1 lin/data <fs
made vgcreate data2,data3 strip data2 data3
made lvcreate data2,data3 -an -Wn -Zn -i 2 -l 20 -n data strip
truncate -s 80M fs && mke2fs -q -t ext4 fs 2>/dev/null && "$ulvm" write --devices data2,data3 strip/data <fs
rm fs
made vgcreate data4,gone part data4 gone
made lvcreate data4,gone -an -Wn -Zn -l 2 -n whole part data4
made lvcreate data4,gone -an -Wn -Zn -l 20 -n half part
made vgcreate data5 foreign data5
made lvcreate data5 -an -Wn -Zn -l 2 -n data foreign
on vgchange -y --devices data5 --systemid elsewhere foreign
made vgcreate data6 away data6
made lvcreate data6 -an -Wn -Zn -l 2 -n data away
made vgexport data6 away
made vgcreate data7 off data7
made lvcreate data7 -an -Wn -Zn -l 2 -n data off
made vgchange data7 --setautoactivation n off
made vgcreate data8 some data8
made lvcreate data8 -an -Wn -Zn -l 2 -n wanted some
made lvcreate data8 -an -Wn -Zn -l 2 --setautoactivation n -n unwanted some
